"""Proof of precision: the types of every convolution and matrix product of a parsed network.

The network is strongly typed, so TensorRT computes in exactly these types or refuses to
build. The rule:

- fp32 bundle: every product is float32 (and TF32 is off, see `worker.py`).
- fp16 bundle: every product that the picture runs through is float16; a fused operator's
  kernel is of its tensors' type, but for the gates. Float32 by design are
  the restorer's products that only merge experts (they depend on weights and gates, never on
  the picture or its prior) and the router's extractor and head, which decide the route.
- A merged network has nothing left to merge: no product that the picture does not run through,
  and no convolution whose weights come from another layer than a constant.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from lorair.runtime.bundle.engines import Branch, Product, ProductKind, Proof
from lorair.runtime.bundle.manifest import Precision
from lorair.runtime.errors import EngineError

_KINDS: Final[dict[str, ProductKind]] = {
    "CONVOLUTION": "convolution",
    "DECONVOLUTION": "deconvolution",
    "MATRIX_MULTIPLY": "matrix product",
    "EINSUM": "einsum",
    "PLUGIN_V3": "fused operator",
}
_TYPES: Final = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
_GATES: Final = "gates"
_HEAD: Final = ("de_extractor.", "cls_head/")


def prove(network: Any, branch: Branch, precision: Precision, *, merged: bool = False) -> Proof:
    """Return the types of a network's products.

    Args:
        network: an `INetworkDefinition`, parsed and strongly typed.
        branch: that it is of.
        precision: of the bundle.
        merged: whether the gates are constant.

    Raises:
        EngineError: a product is not in the type that the rule above asks for.
    """
    proof = Proof(
        source="the types of the parsed, strongly typed network",
        products=tuple(_products(network, branch)),
    )
    _check(proof.products, branch, precision)
    if merged and (left := [p.name for p in proof.products if _is_made_as_it_runs(p)]):
        raise EngineError(
            f"the {branch}'s network is not merged",
            wanted="constant weights",
            found=f"{len(left)} made as it runs, the first for {left[0]}",
            hint="nothing was written; build the bundle again with this version of lorair",
        )
    return proof


def _is_made_as_it_runs(product: Product) -> bool:
    # A convolution of constant weights has one input and one output.
    is_fed = product.kind == "convolution" and len(product.types) > 2
    return is_fed or product.role == "merging"


def _products(network: Any, branch: Branch) -> Iterator[Product]:
    on_the_way = {tensor.name for tensor in map(network.get_input, range(network.num_inputs))} - {
        _GATES
    }
    # Layers come in an order in which inputs precede their uses.
    for layer in map(network.get_layer, range(network.num_layers)):
        inputs = [t for t in map(layer.get_input, range(layer.num_inputs)) if t is not None]
        outputs = list(map(layer.get_output, range(layer.num_outputs)))
        through = any(t.name in on_the_way for t in inputs)
        if through:
            on_the_way.update(t.name for t in outputs)
        if layer.type.name in _KINDS:
            if layer.type.name == "PLUGIN_V3":
                inputs = [t for t in inputs if t.name != _GATES]
            is_head = branch == "router" and layer.name.startswith(_HEAD)
            yield Product(
                name=layer.name,
                kind=_KINDS[layer.type.name],
                types=tuple(_type(t) for t in (*inputs, *outputs)),
                role="head" if is_head else "picture" if through else "merging",
            )


def _type(tensor: Any) -> str:
    name: str = tensor.dtype.name
    return _TYPES.get(name, name.lower())


def _check(products: Iterable[Product], branch: Branch, precision: Precision) -> None:
    products = list(products)
    on_the_way = [p for p in products if p.role == "picture"]
    checked, wanted = (products, "float32") if precision == "fp32" else (on_the_way, "float16")
    wrong = [p for p in checked if set(p.types) != {wanted}]
    if wrong or not on_the_way:
        first = wrong[0] if wrong else None
        raise EngineError(
            f"the {branch}'s network is not {precision}",
            wanted=f"every convolution and matrix product of the picture in {wanted}",
            found=f"{len(wrong)} of {len(checked)} in another type, the first {first.kind} "
            f"{first.name} with {'/'.join(first.types)}"
            if first
            else "none at all",
            hint="nothing was written; build the bundle again with this version of lorair",
        )
