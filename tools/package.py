"""Build sdist and wheel, check them, and try the wheel in an environment that has nothing else.

``make package`` runs it; what is tried there is ``nce-bias --version`` and the first lines of
README.md, which have to print what stands below them. The files are in dist/.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import venv

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
FIRST = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.S)


def run(*command: str | pathlib.Path, folder: pathlib.Path = ROOT) -> str:
    """What a program prints; it has to end well."""
    done = subprocess.run(
        [*map(str, command)], cwd=folder, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", DIST)
    (wheel,), (sdist,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    print(run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist))
    with tempfile.TemporaryDirectory() as folder:
        empty = pathlib.Path(folder)
        venv.create(empty / "env", with_pip=True)
        python = empty / "env" / "bin" / "python"
        run(python, "-m", "pip", "install", "--constraint", ROOT / "constraints.txt", wheel)
        version = run(empty / "env" / "bin" / "nce-bias", "--version", folder=empty).strip()
        assert version.split()[-1] in wheel.name, (version, wheel.name)
        shown = FIRST.search((ROOT / "README.md").read_text(encoding="utf-8"))
        assert shown is not None, "README.md has no example"
        printed = run(python, "-c", shown["code"], folder=empty)
        assert printed == shown["printed"], f"README.md shows\n{shown['printed']}\nnot\n{printed}"
    print(f"{wheel.name} and {sdist.name} are right: {version}, and the README's first lines")


if __name__ == "__main__":
    main()
