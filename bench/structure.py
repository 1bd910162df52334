"""The picture of the data flow in docs/architecture.md, from the imports of the package as they are.

    python bench/structure.py            print the picture (Mermaid) and how many imports cross its borders
    python bench/structure.py --write    put it into docs/architecture.md

An arrow goes from what is imported to what imports it: with the data. What follows from other arrows is not drawn.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/ecgprism"
PAGE = ROOT / "docs/architecture.md"
BLOCK = re.compile(r"```mermaid\n.*?```\n", re.DOTALL)
GROUND = {"errors", "extras", "files", "markup", "registry", "config", "archives", "processes"}


def parts() -> dict[str, set[str]]:
    """Return by part of the package (a folder; the ground is one) the parts that it imports."""
    return {part: {other for other, _ in found} for part, found in imports().items()}


def imports() -> dict[str, set[tuple[str, str]]]:
    """Return by part the imports that leave it: the other part, and which module imports which."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        own = _part(path.relative_to(PACKAGE).with_suffix("").parts)
        if own is None:
            continue
        crossing = found.setdefault(own, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecgprism."):
                other = _part(tuple(str(node.module).split(".")[1:]))
                if other not in (None, own):
                    crossing.add((str(other), f"{path.relative_to(PACKAGE)} <- {node.module}"))
    return found


def _part(names: tuple[str, ...]) -> str | None:
    if names[0].startswith("__"):
        return None
    return "ground" if names[0] in GROUND else names[0]


def mermaid() -> str:
    """Return the picture: parts from top to bottom, without the arrows that follow from others."""
    of = parts()
    for part in of:
        if part != "ground":
            of[part] |= {"ground"}

    def reached(part: str) -> set[str]:
        return set().union(*({other} | reached(other) for other in of[part]))

    lines = ["```mermaid", "flowchart TD"]
    lines += [f'  ground["{" · ".join(sorted(GROUND & {p.stem for p in PACKAGE.glob("*.py")}))}"]']
    for part in sorted(of, key=lambda name: (len(reached(name)), name)):
        direct = {o for o in of[part] if not any(o in reached(other) for other in of[part] - {o})}
        lines += [f"  {other} --> {part}" for other in sorted(direct)]
    return "\n".join([*lines, "```", ""])


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(BLOCK.sub(lambda _: mermaid(), PAGE.read_text()))
    else:
        print(mermaid())
        crossing = imports()
        print(f"{sum(map(len, crossing.values()))} imports between {len(crossing)} parts")
