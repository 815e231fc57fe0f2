"""The order of the rooms, and how little the scoring path needs, read from every file's imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

# Each room imports only from itself and from rooms before it. `public` is prohibit_jax/__init__.py, which hands on
# names lazily; `launch` comes last because one of its commands starts `serve`.
ROOMS = (
    *("types", "files", "config", "images", "data", "models", "weights", "evaluate", "train", "bundle", "score"),
    *("heads", "bench", "plan", "release", "active", "public", "serve", "launch"),
)

SCORING = {"types", "files", "images", "models", "bundle", "score"}
LIGHT = {"jax", "flax", "numpy", "PIL", "safetensors", "etils"}
EXTRAS = {"prohibit_jax.score.openvino": "cpu"}  # what belongs to an extra, imported only where that is installed
TABLES = {"prohibit_jax.score.table", "prohibit_jax.score.job"}  # Parquet, imported only where a table is wanted


class Import(NamedTuple):
    name: str  # dotted, with the imported name as its last part: "prohibit_jax.types.InputError"
    needed: bool  # to import the file; not so inside a function, for type checkers only, or where a failure is caught


class Imports(ast.NodeVisitor):
    """Collects the imports of a file."""

    def __init__(self) -> None:
        self.found: list[Import] = []
        self.needed = True

    def visit_Import(self, node: ast.Import) -> None:
        self.found += [Import(alias.name, self.needed) for alias in node.names]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert not node.level, f"line {node.lineno}: relative import"
        self.found += [Import(f"{node.module}.{alias.name}", self.needed) for alias in node.names]

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_unneeded(node.body)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test).endswith("TYPE_CHECKING"):
            self._visit_unneeded(node.body)
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Try(self, node: ast.Try) -> None:
        caught = " ".join(ast.unparse(handler.type) for handler in node.handlers if handler.type)
        if "ImportError" in caught or "ModuleNotFoundError" in caught:
            self._visit_unneeded(node.body)
        else:
            self.generic_visit(node)

    def _visit_unneeded(self, nodes: list[ast.stmt]) -> None:
        before, self.needed = self.needed, False
        for node in nodes:
            self.visit(node)
        self.needed = before


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for top in ("prohibit_jax", "launch", "serve") for path in (ROOT / top).rglob("*.py")}


def room(module: str) -> str:
    top, *rest = module.split(".")
    return top if top != "prohibit_jax" else rest[0] if rest else "public"


@cache
def imports(module: str) -> tuple[Import, ...]:
    visitor = Imports()
    visitor.visit(ast.parse(MODULES[module].read_text()))
    return tuple(visitor.found)


def own(name: str) -> str | None:
    """The project's module that `name` is, or lies in."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def foreign(module: str, *, needed: bool) -> Iterator[str]:
    """The libraries that a module imports: only those that it cannot be imported without, or the others."""
    for found in imports(module):
        top = found.name.partition(".")[0]
        if found.needed == needed and not own(found.name) and top not in sys.stdlib_module_names:
            yield top


def reached(module: str) -> set[str]:
    """The project's modules that importing one of them imports, itself included."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        if (module := todo.pop()) not in seen:
            seen.add(module)
            todo += [target for found in imports(module) if found.needed and (target := own(found.name))]
    return seen


def test_there_are_files_to_read() -> None:
    assert {"prohibit_jax.types", "prohibit_jax.models.efficientnet"} <= set(MODULES)


def test_rooms_import_only_from_their_left() -> None:
    assert {room(module) for module in MODULES} <= set(ROOMS)
    wrong = [
        f"{module} imports {target}"
        for module in MODULES
        if room(module) != "public"
        for found in imports(module)
        if (target := own(found.name)) and ROOMS.index(room(target)) > ROOMS.index(room(module))
    ]
    assert not wrong


def test_package_files_are_empty() -> None:
    inits = [path for path in MODULES.values() if path.name == "__init__.py" and path.parent.name != "prohibit_jax"]
    assert not [dotted(path) for path in inits if path.read_bytes()]


def test_the_public_names_are_lazy() -> None:
    if "prohibit_jax" in MODULES:
        assert reached("prohibit_jax") == {"prohibit_jax"}
        assert not list(foreign("prohibit_jax", needed=True))


def test_the_scoring_path_imports_nothing_heavy() -> None:
    heavy = [
        f"{module} imports {library} through {inner}"
        for module in MODULES
        if room(module) in SCORING
        for inner in reached(module)
        for library in foreign(inner, needed=True)
        if library
        not in LIGHT | ({"pyarrow"} if inner in TABLES else set()) | ({"openvino"} if inner in EXTRAS else set())
    ]
    assert not heavy


def test_every_library_is_declared() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    core = distributions(project["dependencies"])
    optional = {name for extra in extras if extra != "dev" for name in distributions(extras[extra])}
    providers = packages_distributions()

    def undeclared(module: str, declared: set[str], *, needed: bool) -> list[str]:
        return [
            f"{module} imports {library}"
            for library in foreign(module, needed=needed)
            if not declared & distributions(providers.get(library, [library]))
        ]

    for module in MODULES:
        own_extra = EXTRAS.get(module, room(module) if room(module) in ("bench", "serve") else None)
        always = core | distributions(extras[own_extra]) if own_extra else core
        assert not undeclared(module, always, needed=True)
        assert not undeclared(module, core | optional, needed=False)


def distributions(requirements: list[str]) -> set[str]:
    """The normalised names in requirements such as `etils[epath]>=1.12`."""
    names = (re.match(r"[\w.-]+", text) for text in requirements)
    return {re.sub(r"[-_.]+", "-", name.group()).lower() for name in names if name}
