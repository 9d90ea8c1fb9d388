// The JavaScript client as dashboards and operators use it: objects, watches, an informer, and streams to pods.

import { mkdtemp, writeFile } from 'node:fs/promises';
import { createServer, connect } from 'node:net';
import { PassThrough, Readable, Writable } from 'node:stream';
import {
    AppsV1Api, CoreV1Api, Cp, Exec, KubeConfig, KubernetesObjectApi, Log, Metrics, PatchStrategy, PortForward, VersionApi,
    Watch, makeInformer, setHeaderOptions, topNodes,
} from '@kubernetes/client-node';
import { eventually, main, want, within } from './steps.mjs';

const namespace = 'javascript';
const config = new KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(CoreV1Api);
const objects = KubernetesObjectApi.makeApiClient(config);

const configMap = (name, data) => ({
    apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, namespace, labels: { made: 'here' } }, data,
});

const pod = (name, image, command) => ({
    metadata: { name, namespace, labels: { app: name } },
    spec: {
        terminationGracePeriodSeconds: 1,
        containers: [{ name: 'main', image, imagePullPolicy: 'IfNotPresent', command, ports: [{ containerPort: 8080 }] }],
    },
});

async function runPod(body) {
    await core.createNamespacedPod({ namespace, body });
    await eventually(async () => {
        const { status } = await core.readNamespacedPod({ namespace, name: body.metadata.name });
        const ready = status.conditions?.find(({ type }) => type === 'Ready');
        want(`ready of ${body.metadata.name}, which is ${status.phase},`, ready?.status, 'True');
    });
}

/** A stream that keeps what is written to it. */
function kept() {
    const chunks = [];
    const stream = new Writable({ write(chunk, _, done) { chunks.push(chunk); done(); } });
    return { stream, text: () => Buffer.concat(chunks).toString() };
}

/** Runs a command in the shell's pod; its outputs and status. */
function exec(command, stdin = null) {
    const stdout = kept(), stderr = kept();
    return new Promise((done, failed) => {
        new Exec(config)
            .exec(namespace, 'shell', 'main', command, stdout.stream, stderr.stream, stdin, false, (status) => {
                done({ status, stdout: stdout.text(), stderr: stderr.text() });
            })
            .catch(failed);
    });
}

/** What an informer or watch tells, one after the other. */
function queue() {
    const items = [];
    let wake = () => {};
    return {
        push(item) { items.push(item); wake(); },
        async next() {
            while (items.length === 0) await within(30_000, new Promise((done) => { wake = done; }));
            return items.shift();
        },
    };
}

async function changes(name) {
    await core.createNamespacedConfigMap({ namespace, body: configMap(name, { key: 'first' }) });
    await core.replaceNamespacedConfigMap({ namespace, name, body: configMap(name, { key: 'second' }) });
    await core.deleteNamespacedConfigMap({ namespace, name });
}

main({
    async version() {
        want('major', (await config.makeApiClient(VersionApi).getCode()).major, '1');
    },
    async 'create-namespace'() {
        await core.createNamespace({ body: { metadata: { name: namespace } } });
        await eventually(() => core.readNamespacedServiceAccount({ namespace, name: 'default' }));
    },
    async 'list-nodes'() {
        want('nodes', (await core.listNode()).items.length > 0, true);
    },
    async 'config-map'() {
        const body = configMap('settings', { key: 'first' });
        await core.createNamespacedConfigMap({ namespace, body });
        want('key', (await core.readNamespacedConfigMap({ namespace, name: 'settings' })).data.key, 'first');
    },
    async 'patch-merge'() {
        const options = setHeaderOptions('Content-Type', PatchStrategy.MergePatch);
        const patched = await core.patchNamespacedConfigMap({ namespace, name: 'settings', body: { data: { merged: 'yes' } } }, options);
        want('merged', patched.data.merged, 'yes');
    },
    async 'patch-json'() {
        const body = [{ op: 'replace', path: '/data/key', value: 'second' }];
        want('key', (await core.patchNamespacedConfigMap({ namespace, name: 'settings', body })).data.key, 'second');
    },
    async 'object-api'() {
        await objects.create(configMap('general', { key: 'first' }));
        await objects.patch(configMap('general', { key: 'second' }), undefined, undefined, undefined, undefined, PatchStrategy.MergePatch);
        want('key', (await objects.read(configMap('general'))).data.key, 'second');
        want('maps', (await objects.list('v1', 'ConfigMap', namespace)).items.length > 1, true);
        await objects.delete(configMap('general'));
    },
    async 'apply-server-side'() {
        const applied = await objects.patch(
            configMap('applied', { key: 'value' }), undefined, undefined, 'javascript', true, PatchStrategy.ServerSideApply);
        want('key', applied.data.key, 'value');
        want('operation', applied.metadata.managedFields[0].operation, 'Apply');
    },
    async 'error-status'() {
        try {
            await core.readNamespacedPod({ namespace, name: 'absent' });
        } catch (error) {
            want('code', error.code, 404);
            want('reason', JSON.parse(error.body).reason, 'NotFound');
            return;
        }
        throw new Error('a pod is found that is not there');
    },
    async watch() {
        const events = queue();
        const { metadata } = await core.listNamespacedConfigMap({ namespace });
        const query = { resourceVersion: metadata.resourceVersion, fieldSelector: 'metadata.name=watched', allowWatchBookmarks: true };
        const watching = await new Watch(config).watch(
            `/api/v1/namespaces/${namespace}/configmaps`, query,
            (type) => { if (type !== 'BOOKMARK') events.push(type); }, () => {});
        await changes('watched');
        for (const wanted of ['ADDED', 'MODIFIED', 'DELETED']) want('event', await events.next(), wanted);
        watching.abort();
    },
    async informer() {
        const events = queue();
        const informer = makeInformer(
            config, `/api/v1/namespaces/${namespace}/configmaps`,
            () => core.listNamespacedConfigMap({ namespace, labelSelector: 'made=here' }), 'made=here');
        for (const verb of ['add', 'update', 'delete']) {
            informer.on(verb, ({ metadata }) => { if (metadata.name === 'informed') events.push(verb); });
        }
        informer.on('error', (error) => events.push(error?.message));
        await informer.start();
        want('what the informer has', informer.get('settings', namespace)?.data.merged, 'yes');
        await changes('informed');
        for (const wanted of ['add', 'update', 'delete']) want('what is told', await events.next(), wanted);
        await informer.stop();
    },
    async deployment() {
        const template = pod('served', 'knarr/hello:latest');
        const apps = config.makeApiClient(AppsV1Api);
        const name = 'served';
        const body = {
            metadata: { name },
            spec: { replicas: 1, selector: { matchLabels: { app: name } }, template: { metadata: { labels: { app: name } }, spec: template.spec } },
        };
        await apps.createNamespacedDeployment({ namespace, body });
        await eventually(async () => {
            want('ready', (await apps.readNamespacedDeployment({ namespace, name })).status.readyReplicas, 1);
        });
        const scale = await apps.readNamespacedDeploymentScale({ namespace, name });
        scale.spec.replicas = 0;
        await apps.replaceNamespacedDeploymentScale({ namespace, name, body: scale });
    },
    async pods() {
        await runPod(pod('shell', 'knarr/busybox:latest', ['sh', '-c', 'while true; do echo tick; sleep 1; done']));
        await runPod(pod('hello', 'knarr/hello:latest'));
    },
    async logs() {
        want('a tick', (await core.readNamespacedPodLog({ namespace, name: 'shell', tailLines: 1 })).trim(), 'tick');
    },
    async 'logs-follow'() {
        const stream = new PassThrough();
        let ticks = 0;
        const three = new Promise((done) => stream.on('data', (chunk) => {
            ticks += chunk.toString().split('tick').length - 1;
            if (ticks >= 3) done();
        }));
        const following = await new Log(config).log(namespace, 'shell', 'main', stream, { follow: true });
        await within(20_000, three);
        following.abort();
    },
    async exec() {
        const { stdout, stderr, status } = await exec(['sh', '-c', 'echo out; echo err >&2']);
        want('stdout', stdout, 'out\n');
        want('stderr', stderr, 'err\n');
        want('status', status.status, 'Success');
    },
    async 'exec-fails'() {
        const { status } = await exec(['sh', '-c', 'exit 7']);
        want('reason', status.reason, 'NonZeroExitCode');
        want('exit code', status.details.causes.find(({ reason }) => reason === 'ExitCode').message, '7');
    },
    async 'exec-stdin'() {
        const { stdout } = await exec(['head', '-n', '1'], Readable.from(['a line\n']));
        want('stdout', stdout, 'a line\n');
    },
    async cp() {
        const dir = await mkdtemp(`${process.env.CLIENT_DIR}/cp-`);
        await writeFile(`${dir}/there`, 'x'.repeat(100_000));
        await new Cp(config).cpToPod(namespace, 'shell', 'main', dir, '/tmp');
        const size = async () => want('size', (await exec(['wc', '-c', '/tmp/there'])).stdout, '100000 /tmp/there\n');
        await eventually(size, 20_000);
    },
    async 'port-forward'() {
        const forward = new PortForward(config);
        const server = createServer((socket) => {
            forward.portForward(namespace, 'hello', [8080], socket, null, socket).catch((error) => socket.destroy(error));
        });
        await new Promise((done) => server.listen(0, '127.0.0.1', done));
        const { port } = server.address();
        const answer = kept();
        const socket = connect(port, '127.0.0.1');
        socket.write('GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n');
        socket.pipe(answer.stream);
        await eventually(async () => want('the page is there', answer.text().includes('Hello'), true), 20_000);
        socket.destroy();
        server.close();
    },
    async 'top-nodes'() {
        try {
            await new Metrics(config).getNodeMetrics();
        } catch (error) {
            throw new Error(`metrics.k8s.io answers with ${error.code}`);
        }
        await topNodes(core);
    },
    async evict() {
        const body = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name: 'hello', namespace } };
        await core.createNamespacedPodEviction({ namespace, name: 'hello', body });
    },
    async 'delete-namespace'() {
        await core.deleteNamespace({ name: namespace });
        await eventually(async () => {
            const left = (await core.listNamespace()).items.filter(({ metadata }) => metadata.name === namespace);
            want('namespaces left', left.length, 0);
        });
    },
});
