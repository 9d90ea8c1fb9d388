// Tells of a client's steps on standard output, in the protocol of xtask/src/clients/report.rs.

const LIMIT_MS = 60_000;

const after = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Runs every step, whatever became of those before it. `steps` has an async function by each name. */
export async function main(steps) {
    for (const name of Object.keys(steps)) console.log(`plan ${name}`);
    for (const [name, run] of Object.entries(steps)) {
        const started = performance.now();
        const seconds = () => ((performance.now() - started) / 1000).toFixed(2);
        try {
            await within(LIMIT_MS, run());
            console.log(`ok ${name} ${seconds()}`);
        } catch (error) {
            console.error(error);
            console.log(`fail ${name} ${seconds()} ${reason(error)}`);
        }
    }
    // Streams that a failed step left open must not hold the process.
    process.exit(0);
}

/** Rejects when a promise takes longer. */
export function within(milliseconds, promise) {
    const late = after(milliseconds).then(() => {
        throw new Error(`not done after ${milliseconds / 1000} s`);
    });
    return Promise.race([promise, late]);
}

/** Calls `look` until it does not throw. */
export async function eventually(look, milliseconds = LIMIT_MS - 5_000) {
    const deadline = performance.now() + milliseconds;
    for (;;) {
        try {
            return await look();
        } catch (error) {
            if (performance.now() > deadline) throw error;
            await after(50);
        }
    }
}

export function want(what, found, wanted) {
    if (found !== wanted) throw new Error(`${what} is ${JSON.stringify(found)}, not ${JSON.stringify(wanted)}`);
}

/** What a Status says, or the error itself, on one line. */
function reason(error) {
    let text = error?.message ?? String(error);
    if (error?.body) {
        try {
            text = JSON.parse(error.body).message;
        } catch {
            text = String(error.body.message ?? error.body);
        }
    }
    return text.replace(/\s+/g, ' ').trim();
}
