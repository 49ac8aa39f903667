"""What every test sees: the options --full and --shard, and the reasons for which marked tests are skipped."""

import importlib.util

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the tests marked `full` as well (minutes to hours)")
    parser.addoption("--shard", metavar="I/N", help="run every N-th test only, from the I-th (0 is the first): N processes share the work")


def gpu_absence() -> str:
    """Return why there is no GPU to test on, or an empty text."""
    if importlib.util.find_spec("cupy") is None:
        return "CuPy is not installed (extra gpu12 or gpu13)"
    import cupy

    try:
        return "" if cupy.cuda.runtime.getDeviceCount() else "no CUDA device"
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"CUDA: {error}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--shard"):
        index, count = map(int, config.getoption("--shard").split("/"))
        items[:] = items[index::count]
    absence = gpu_absence()
    no_torch = importlib.util.find_spec("torch") is None
    for item in items:
        if no_torch and isinstance(item, pytest.DoctestItem) and item.path.parent.name == "interop":
            item.add_marker(pytest.mark.skip(reason="PyTorch is not installed (extra interop)"))
        if item.get_closest_marker("gpu") and absence:
            item.add_marker(pytest.mark.skip(reason=absence))
        if item.get_closest_marker("full") and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="takes long; run with --full"))
