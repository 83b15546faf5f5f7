"""A route in a file: what the router saw, kept for another run.

JSON with the keys of `SavedRoute`. Numbers are written so that they read back as the same
float32 values.
"""

import json
from pathlib import Path
from typing import Annotated, Final, Literal

import numpy as np
from pydantic import Field, FiniteFloat, ValidationError, model_validator

from lorair.runtime.bundle.files import Stored, first_problem
from lorair.runtime.bundle.manifest import ROUTER, Bundle
from lorair.runtime.errors import RouteError
from lorair.runtime.routing.gates import SUM_TOLERANCE
from lorair.runtime.routing.route import Route
from lorair.runtime.system.console import lorair_version, write_json

SCHEMA_VERSION: Final = 1
ENDING: Final = ".route.json"

Share = Annotated[float, Field(ge=0, le=1)]


class SavedRoute(Stored):
    """A route file.

    router: the bundle's router, as `router_identity` has it.
    picture: whose route it is, for people.
    classes: E names. logits, gates: (E,). prior: (P,).
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    created_by: str
    router: str
    picture: str = ""
    classes: tuple[str, ...]
    logits: tuple[FiniteFloat, ...]
    gates: tuple[Share, ...]
    prior: tuple[FiniteFloat, ...]

    @model_validator(mode="after")
    def _agree(self) -> "SavedRoute":
        if not len(self.classes) == len(self.logits) == len(self.gates):
            raise ValueError("classes, logits and gates differ in number")
        if any(self.gates) and abs(sum(self.gates) - 1) > SUM_TOLERANCE:
            raise ValueError("the gates do not sum to 1")
        return self


def router_identity(bundle: Bundle) -> str:
    """What tells routers apart: the sha256 of the router's graph and of its weights."""
    files = bundle.manifest.files
    hashes = (files[name].sha256 for name in (ROUTER, f"{ROUTER}.data") if name in files)
    return " ".join(hashes)


def save(path: Path, route: Route, bundle: Bundle, picture: str) -> None:
    """Write a route, atomically. Raises OutputError: the place cannot be written."""
    saved = SavedRoute(
        created_by=f"lorair {lorair_version()}",
        router=router_identity(bundle),
        picture=picture,
        classes=route.classes,
        logits=tuple(route.logits.tolist()),
        gates=tuple(route.gates.tolist()),
        prior=tuple(route.prior.tolist()),
    )
    write_json(path, saved.model_dump(mode="json"))


def load(path: Path, bundle: Bundle) -> Route:
    """Read a route for this bundle.

    Raises RouteError: missing, damaged, of a newer version, or another router's.
    """
    saved = _parse(path)
    model = bundle.manifest.model
    is_its = saved.router == router_identity(bundle)
    if not is_its or saved.classes != model.classes or len(saved.prior) != model.prior:
        raise RouteError(
            f"cannot use the route {path}",
            wanted=f"a route by the router of {bundle.path}",
            found=f"another's, for {', '.join(saved.classes)}",
            hint=f"make it again with `lorair-run route PICTURE -b {bundle.path} -o {path}`",
        )
    logits, gates, prior = (
        np.array(values, np.float32) for values in (saved.logits, saved.gates, saved.prior)
    )
    return Route(logits, gates, prior, saved.classes)


def _parse(path: Path) -> SavedRoute:
    try:
        return SavedRoute.model_validate(json.loads(path.read_bytes()))
    except ValidationError as error:
        found = " at ".join(reversed(first_problem(error)))
    except FileNotFoundError:
        found = "no such file"
    except OSError as error:
        found = error.strerror or str(error)
    except (ValueError, RecursionError) as error:
        found = str(error)
    raise RouteError(
        f"cannot read the route {path}",
        wanted=f"a file as `lorair-run route` writes it, version {SCHEMA_VERSION}",
        found=found,
        hint="make it again with `lorair-run route`",
    )
