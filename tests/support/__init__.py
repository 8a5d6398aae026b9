"""What tests share: servers, catalogues, models and runs that are small, and the command line to try them with."""

import os

import pytest

# Set before anything imports the libraries that read them. Models here are tiny, and tests run on every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# An assertion that fails in one of these tells what it saw, as in a test.
pytest.register_assert_rewrite("tests.support.breaking", "tests.support.data_folder")
