"""`lorair-run doctor`: what can run here."""

from pathlib import Path
from typing import Annotated

import typer

from lorair.runtime.bundle import bundle_folder
from lorair.runtime.system import console


def doctor(
    bundle: Annotated[
        Path | None,
        typer.Option(
            "--bundle",
            "-b",
            metavar="FOLDER",
            parser=bundle_folder,
            help="Also say what would run this bundle.",
        ),
    ] = None,
    as_json: console.JsonOption = False,
) -> None:
    """Show what this machine can run, and what each backend lacks."""
    from lorair.runtime.doctor import examine

    report = examine(bundle)
    if as_json:
        console.print_json(report)
        return
    out = console.stdout()
    machine, kept = report["machine"], report["cache"]
    out.print(f"lorair    {report['lorair']}, Python {machine['python']}, {machine['system']}")
    out.print(f"machine   {machine['cpu']}; {machine['threads']} threads by default")
    for gpu in report["gpu"]["gpus"]:
        sm, memory = gpu["sm"], gpu["memory"] / 2**30
        out.print(f"GPU       {gpu['name']}, {sm // 10}.{sm % 10}, {memory:.0f} GiB")
    for row in report["backends"]:
        if row["about"] is not None:
            out.print(f"{row['name']:<10}{row['about']}")
    without = report["gpu"]["lacks"]
    out.print(f"driver    {without or 'up to CUDA ' + report['gpu']['driver']}")
    place = kept["folder"] or "off"
    out.print(f"cache     {place} ({kept['bytes'] / 1e6:.0f} MB)", soft_wrap=True)
    table = console.table("backend", "installed", "lacks", title="\nBackends")
    for row in report["backends"]:
        table.add_row(row["name"], row["version"] or "no", row["lacks"] or "")
    out.print(table)
    for row in report["backends"]:
        if row["fix"]:  # whole lines: commands are copied
            out.print(f"{row['name']:<18}{row['fix']}", soft_wrap=True, markup=False)
    if report["engines"]:
        table = console.table("engine", "serves", "for", "lacks here", title="\nEngines")
        for row in report["engines"]:
            table.add_row(*(row[key] or "" for key in ("file", "serves", "needs", "lacks")))
        out.print(table)
    out.print(f"{report['auto']}", soft_wrap=True)
