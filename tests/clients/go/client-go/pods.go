package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/client-go/transport/spdy"

	"knarr.dev/tests/clients/go/step"
)

const (
	helloImage   = "knarr/hello:latest"
	busyboxImage = "knarr/busybox:latest"
	helloPort    = 8080
)

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       podSpec(helloImage),
			},
		},
	}
}

func podSpec(image string, command ...string) corev1.PodSpec {
	grace := int64(1)
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers: []corev1.Container{{
			Name: "main", Image: image, ImagePullPolicy: corev1.PullIfNotPresent, Command: command,
		}},
	}
}

func (c *clients) podSteps() []step.Step {
	return []step.Step{
		{Name: "pod-runs", Run: func(ctx context.Context) error {
			script := "while true; do echo tick; sleep 1; done"
			return errors.Join(
				c.runPod(ctx, "shell", podSpec(busyboxImage, "sh", "-c", script)),
				c.runPod(ctx, "hello", podSpec(helloImage)),
			)
		}},
		{Name: "logs", Run: c.logs},
		{Name: "logs-follow", Run: c.followLogs},
		{Name: "exec-websocket", Run: func(ctx context.Context) error { return c.exec(ctx, c.webSocket) }},
		{Name: "exec-spdy", Run: func(ctx context.Context) error { return c.exec(ctx, c.spdy) }},
		{Name: "exec-resize", Run: c.execTerminal},
		{Name: "port-forward-websocket", Run: func(ctx context.Context) error {
			dialer, err := portforward.NewSPDYOverWebsocketDialer(c.forwardURL(), c.config)
			if err != nil {
				return err
			}
			return forward(ctx, dialer)
		}},
		{Name: "port-forward-spdy", Run: func(ctx context.Context) error {
			transport, upgrader, err := spdy.RoundTripperFor(c.config)
			if err != nil {
				return err
			}
			return forward(ctx, spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, c.forwardURL()))
		}},
		{Name: "pod-proxy", Run: func(ctx context.Context) error {
			body, err := c.json.CoreV1().Pods(namespace).ProxyGet("http", "hello", fmt.Sprint(helloPort), "/", nil).DoRaw(ctx)
			return greeting(body, err)
		}},
		{Name: "evict", Run: c.evict},
		{Name: "pod-delete", Run: c.deletePod},
	}
}

func (c *clients) runPod(ctx context.Context, name string, spec corev1.PodSpec) error {
	api := c.typed.CoreV1().Pods(namespace)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: spec}
	if _, err := api.Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		return err
	}
	one := "metadata.name=" + name
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = one
			return api.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = one
			return api.Watch(ctx, options)
		},
	}, c.typed)
	last := corev1.PodStatus{}
	_, err := watchtools.UntilWithSync(ctx, source, &corev1.Pod{}, nil, func(event watch.Event) (bool, error) {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return false, nil
		}
		last = pod.Status
		for _, condition := range last.Conditions {
			if condition.Type == corev1.PodReady {
				return condition.Status == corev1.ConditionTrue, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("pod %s is %s: %w", name, last.Phase, err)
	}
	return nil
}

func (c *clients) logs(ctx context.Context) error {
	lines := int64(1)
	text, err := c.typed.CoreV1().Pods(namespace).GetLogs("hello", &corev1.PodLogOptions{TailLines: &lines}).DoRaw(ctx)
	if err == nil && !bytes.HasSuffix(text, []byte("\n")) {
		err = fmt.Errorf("the log is %q", text)
	}
	return err
}

func (c *clients) followLogs(ctx context.Context) error {
	stream, err := c.typed.CoreV1().Pods(namespace).GetLogs("shell", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	ticks := make([]byte, len("tick\n")*3)
	_, err = io.ReadFull(stream, ticks)
	return err
}

func (c *clients) execURL(options *corev1.PodExecOptions) *url.URL {
	request := c.json.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name("shell").SubResource("exec")
	return request.VersionedParams(options, scheme.ParameterCodec).URL()
}

func (c *clients) webSocket(options *corev1.PodExecOptions) (remotecommand.Executor, error) {
	return remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, c.execURL(options).String())
}

func (c *clients) spdy(options *corev1.PodExecOptions) (remotecommand.Executor, error) {
	return remotecommand.NewSPDYExecutor(c.config, http.MethodPost, c.execURL(options))
}

func (c *clients) exec(ctx context.Context, by func(*corev1.PodExecOptions) (remotecommand.Executor, error)) error {
	options := &corev1.PodExecOptions{
		Command: []string{"sh", "-c", "cat; echo complaint >&2; exit 3"}, Stdin: true, Stdout: true, Stderr: true,
	}
	executor, err := by(options)
	if err != nil {
		return err
	}
	var stdout, stderr bytes.Buffer
	input := strings.Repeat("a line\n", 10_000)
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{
		Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr,
	})
	var exit interface{ ExitStatus() int }
	if !errors.As(err, &exit) {
		return fmt.Errorf("no exit status: %w", err)
	}
	return errors.Join(
		step.Want("the exit status", exit.ExitStatus(), 3),
		step.Want("whether the output is the input", stdout.String() == input, true),
		step.Want("standard error", stderr.String(), "complaint\n"),
	)
}

// size is that of a terminal, told once.
type size chan remotecommand.TerminalSize

func (s size) Next() *remotecommand.TerminalSize {
	if size, open := <-s; open {
		return &size
	}
	return nil
}

func (c *clients) execTerminal(ctx context.Context) error {
	command := []string{"sh", "-c", "sleep 1; stty size"}
	executor, err := c.webSocket(&corev1.PodExecOptions{Command: command, Stdin: true, Stdout: true, TTY: true})
	if err != nil {
		return err
	}
	sizes := make(size, 1)
	sizes <- remotecommand.TerminalSize{Width: 123, Height: 45}
	defer close(sizes)
	input, output := io.Pipe()
	defer output.Close()
	var stdout bytes.Buffer
	options := remotecommand.StreamOptions{Stdin: input, Stdout: &stdout, Tty: true, TerminalSizeQueue: sizes}
	if err := executor.StreamWithContext(ctx, options); err != nil {
		return err
	}
	return step.Want("the terminal's size", strings.TrimSpace(stdout.String()), "45 123")
}

func (c *clients) forwardURL() *url.URL {
	return c.json.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Name("hello").SubResource("portforward").URL()
}

// forward asks the web server twice through one forwarded port.
func forward(ctx context.Context, dialer httpstream.Dialer) error {
	ready, stop := make(chan struct{}), make(chan struct{})
	defer close(stop)
	forwarder, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", helloPort)}, stop, ready, io.Discard, io.Discard)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	select {
	case err := <-ended:
		return fmt.Errorf("forwarding has ended: %w", err)
	case <-ctx.Done():
		return ctx.Err()
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return err
	}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range 2 {
		answer, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", ports[0].Local))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err := greeting(body, err); err != nil {
			return err
		}
	}
	return nil
}

func greeting(body []byte, err error) error {
	if err == nil && !bytes.HasPrefix(body, []byte("Hello")) {
		err = fmt.Errorf("the page is %q", body)
	}
	return err
}

func (c *clients) gone(ctx context.Context, name string) error {
	return step.Eventually(ctx, func(ctx context.Context) error {
		_, err := c.json.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(errors.New("the pod is there"), err)
	})
}

func (c *clients) evict(ctx context.Context) error {
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: namespace}}
	if err := c.typed.PolicyV1().Evictions(namespace).Evict(ctx, eviction); err != nil {
		return err
	}
	return c.gone(ctx, "hello")
}

func (c *clients) deletePod(ctx context.Context) error {
	background := metav1.DeletePropagationBackground
	options := metav1.DeleteOptions{PropagationPolicy: &background}
	if err := c.typed.CoreV1().Pods(namespace).Delete(ctx, "shell", options); err != nil {
		return err
	}
	return c.gone(ctx, "shell")
}
