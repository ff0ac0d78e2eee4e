"""`make audit`: look up every distribution in requirements/ in PyPI's list of known vulnerabilities, with pip-audit.

Exit code 0: none is known, or the list cannot be read from here, which is said; 1: some are.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TOGETHER = (("all", "dev", "torch"), ("tools",))  # what is installed in one environment
COMMAND = ("--disable-pip", "--require-hashes", "--progress-spinner", "off", "--timeout", "20", "--format", "json")


def audit(program: Path, lists: tuple[str, ...]) -> list[dict]:
    """What pip-audit reports of each distribution; nothing if it could look up none."""
    files = [part for name in lists for part in ("-r", ROOT / "requirements" / f"{name}.txt")]
    done = subprocess.run([program, *COMMAND, *files], capture_output=True, text=True, check=False)
    if not done.stdout:  # no connection
        print(done.stderr.strip().splitlines()[-1])
        return []
    found = [d for d in json.loads(done.stdout)["dependencies"] if "vulns" in d]
    print(f"{', '.join(lists)}: {len(found)} distributions were looked up")
    return found


def main() -> int:
    """Report; returns the exit code."""
    program, known = Path(sys.executable).with_name("pip-audit"), 0
    for lists in TOGETHER:
        found = audit(program, lists)
        if not found:
            print("SKIPPED: PyPI's list of known vulnerabilities cannot be read from here.")
            return 0
        for distribution in found:
            for vulnerability in distribution["vulns"]:
                known += 1
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
                print(f"  {distribution['name']} {distribution['version']}: {vulnerability['id']}, fixed in {fixed}")
    print(f"Known vulnerabilities: {known}")
    return int(known > 0)


if __name__ == "__main__":
    sys.exit(main())
