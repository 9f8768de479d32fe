"""sekisho: roles, pilot and doctor, each loaded when asked for.

``sekisho --help`` and the legal and compliance commands load no torch and no TenSEAL
(tests/test_architecture.py runs them in a fresh interpreter and reads ``sys.modules``).
"""

from __future__ import annotations

import importlib
import resource
import sys

import typer
from typer.core import TyperGroup

# name -> (module beside this one, one line for --help); a module is imported when its command runs
COMMANDS: dict[str, tuple[str, str]] = {
    "pilot": ("pilot", "Run a study, every site in this process; write its report."),
    "study": ("study", "A study of your own: draft, keys, where it stands."),
    "legal": ("legal", "Policies and approvals: read, compare, try, sign, stop."),
    "site": ("site", "A site's own view: service, roster, budget and consent."),
    "coordinator": ("coordinator", "The machine in the middle: admit sites, run, status, stop."),
    "remedy": ("remedying", "After a withdrawal: notify, revoke, or repeat a run without the person."),
    "compliance": ("compliance", "Export evidence, and verify it."),
    "doctor": ("doctor", "Prove that each protection is on, by trying to break it."),
}


class LazyCommands(TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # typer.Context is click's
        """All commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[no-untyped-def, override]  # click's type
        """Import the module of ``cmd_name`` and build its command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f".{COMMANDS[cmd_name][0]}", __package__)
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        command.help = command.help or COMMANDS[cmd_name][1]
        return command


app = typer.Typer(
    cls=LazyCommands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Federated learning for foundation models behind one gate.",
    epilog="Exit codes: 0 done or verified, 1 a check found something, 2 unusable input, 3 refused.",
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Federated learning for foundation models behind one gate."""
    if version:
        from ... import __version__

        print(f"sekisho {__version__}")
        raise typer.Exit


def main() -> None:
    """The entry point of the ``sekisho`` command."""
    # a process that crashes must not leave keys and records in a core file; whatever it starts inherits this
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    app(prog_name="sekisho", args=sys.argv[1:])
