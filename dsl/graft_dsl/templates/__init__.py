"""What `graft new` begins with: small flows that run as they are, to be changed."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from attrs import frozen

from graft_dsl.names import flow_name

_PLACEHOLDER = '"NAME"'


@frozen
class Template:
    """`about` is one line; the files lie in the directory of the template's name."""

    name: str
    about: str

    def files(self, name: str) -> dict[str, str]:
        """Path -> text of the files of a flow called `name`. `flow.toml` is among them."""
        found = dict(sorted(_texts(files(__name__) / self.name, "")))
        found["flow.toml"] = found["flow.toml"].replace(_PLACEHOLDER, f'"{flow_name(name)}"')
        return found


def _texts(directory: Traversable, prefix: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for each in directory.iterdir():
        if each.is_dir():
            found += [] if each.name == "__pycache__" else _texts(each, f"{prefix}{each.name}/")
        elif not each.name.endswith(".pyc"):
            found.append((prefix + each.name, each.read_text(encoding="utf-8")))
    return found


TEMPLATES: dict[str, Template] = {
    template.name: template
    for template in (
        Template("hello", "three steps: a command, an expression, a file"),
        Template("pipeline", "data: load, fan out over groups, report; steps in Python"),
        Template("release", "check, build, publish with retry, roll back; steps in shell"),
    )
}
