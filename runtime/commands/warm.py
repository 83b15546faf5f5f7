"""`lorair-run warm`: compile a bundle's graphs before the first picture."""

from lorair.runtime.commands import options
from lorair.runtime.system import console


def warm(
    bundle: options.BundleArgument = options.DEFAULT_BUNDLE,
    backend: options.BackendOption = "auto",
    threads: options.ThreadsOption = None,
    as_json: console.JsonOption = False,
) -> None:
    """Compile a bundle's graphs into the cache, so that first pictures need not wait for that."""
    from lorair.runtime.system import cache
    from lorair.runtime.warm import warm as fill

    with console.progress("compile") as progress:
        description = fill(bundle, backend, threads, progress)
    folder = cache.folder()
    size = 0 if folder is None else cache.size(folder)
    if as_json:
        found = {"backend": description, "cache": folder and str(folder), "bytes": size}
        console.print_json(found)
        return
    place = "nowhere: the cache is off" if folder is None else f"{folder} ({size / 1e6:.0f} MB)"
    console.stdout().print(f"{description}: compiled, kept in {place}", soft_wrap=True)
