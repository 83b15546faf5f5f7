"""Why a test may be skipped in CI: what no package brings. Elsewhere any reason will do."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

ALLOWED = (
    "NVIDIA driver",  # there is none, or it sees no GPU
    "there is a GPU",
    "the package tensorrt is not installed",  # both are for a GPU only
    "the package onnxruntime-gpu is not installed",
    "the package onnxruntime-ep-webgpu is not installed",  # tests/runtime/backends/test_webgpu.py
    "the package onnxruntime-ep-nv-tensorrt-rtx-cu13 is not installed",
    "golden cases",
    "root may write everywhere",
    "this processor has no bfloat16",
)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _checked((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _checked((yield))


def _checked(report: Report) -> Report:
    """The report, as a failure if it is of a skip that CI must not have."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return report
    reason = str(report.longrepr)
    if not any(word in reason for word in ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, for a reason that is not in {__file__}: {reason}"
    return report
