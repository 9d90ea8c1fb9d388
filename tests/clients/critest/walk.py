"""critest (the one that is $CRITEST) against the runtime at $CRI_ENDPOINT: each spec alone, so that one that hangs is alone too."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

LIMIT_SECONDS = 100
DIRECTORY = Path(os.environ["CLIENT_DIR"])
REPORT = DIRECTORY / "report.json"

# What cannot be tried, by the beginning of a spec's text. critest itself skips what needs AppArmor, SELinux or NRI.
SKIPPED = {
    "Image Consistency": "pulls from public registries",
    "Image Identifier Consistency": "pulls from public registries",
    "Image Manager": "pulls from public registries",
    "Image Volume": "pulls from public registries",
    "Security Context NamespaceOption runtime should support ContainerPID": "looks for nginx's own processes",
    "Security Context NamespaceOption runtime should support HostPID": "looks for nginx's own processes",
}


def critest(*arguments: str) -> list[dict]:
    """Runs critest; the reports of its specs."""
    REPORT.unlink(missing_ok=True)
    command = [
        os.environ["CRITEST"],
        f"-runtime-endpoint={os.environ['CRI_ENDPOINT']}",
        "-runtime-service-timeout=60s",
        f"-ginkgo.json-report={REPORT}",
        "-ginkgo.no-color",
        *arguments,
    ]
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, stderr=sys.stderr, timeout=LIMIT_SECONDS, check=False)
    return json.loads(REPORT.read_text())[0]["SpecReports"]


def text(spec: dict) -> str:
    words = " ".join([*(spec["ContainerHierarchyTexts"] or []), spec["LeafNodeText"]])
    return words.removeprefix("[k8s.io] ")


def name(spec: str) -> str:
    spec = spec.replace("runtime should support", "")
    return re.sub(r"[^a-z0-9]+", "-", spec.lower()).strip("-")


def outcome(spec: str) -> str:
    """What is to be said of a spec that is run."""
    # Go's regular expressions know no escaped spaces.
    focus = re.sub(r"([][(){}.*+?^$|\\])", r"\\\1", spec)
    started = time.monotonic()
    try:
        reports = critest(f"-ginkgo.focus= {focus}$", f"-ginkgo.timeout={LIMIT_SECONDS - 10}s")
    except subprocess.TimeoutExpired:
        return f"fail {{}} {time.monotonic() - started:.2f} not done after {LIMIT_SECONDS} s"
    except (OSError, ValueError) as error:
        return f"fail {{}} {time.monotonic() - started:.2f} critest leaves no report: {error}"
    seconds = f"{time.monotonic() - started:.2f}"
    ran = [report for report in reports if report["State"] != "skipped" or report.get("Failure")]
    for report in ran:
        reason = " ".join(report.get("Failure", {}).get("Message", "").split())
        if report["State"] == "skipped":
            return f"skip {{}} {reason}"
        if report["State"] != "passed":
            return f"fail {{}} {seconds} {reason or report['State']}"
    return f"ok {{}} {seconds}" if any(r["LeafNodeType"] == "It" for r in ran) else f"fail {{}} {seconds} it was not run"


def main() -> None:
    specs = [text(s) for s in critest("-ginkgo.dry-run") if s["LeafNodeType"] == "It" and s["State"] == "passed"]
    for spec in specs:
        print("plan", name(spec), flush=True)
    for spec in sorted(specs):
        reason = next((reason for start, reason in SKIPPED.items() if spec.startswith(start)), None)
        said = f"skip {{}} {reason}" if reason else outcome(spec)
        print(said.replace("{}", name(spec), 1), flush=True)


main()
