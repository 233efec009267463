# Two commands matter to a newcomer: `make demo` and `make test`. Both prepare what they need; a second run installs nothing.
SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo soak test test-unit check bench bench-proxy bench-dns bench-ingress clean setup setup-python

setup: ; @scripts/setup system python
setup-python: ; @scripts/setup python

demo: setup
	@$(BIN)/python examples/demo.py

test: setup
	@scripts/setup test
	@$(BIN)/pytest tests

test-unit: setup-python
	@$(BIN)/pytest tests/unit tests/golden

check: setup-python
	@$(BIN)/ruff check src tests benchmarks examples
	@$(BIN)/ruff format --check src tests benchmarks examples
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

bench-dns: setup
	@scripts/setup bench
	@$(BIN)/python benchmarks/bench_dns.py

bench-ingress: setup
	@scripts/setup bench
	@$(BIN)/python benchmarks/bench_ingress.py

# The default proxy mode only; `make bench-proxy` measures all of them, which takes some five minutes.
bench: setup
	@scripts/setup bench
	@$(BIN)/python benchmarks/bench_cluster.py
	@$(BIN)/python benchmarks/bench_api.py
	@PYTHONPATH=tests $(BIN)/python benchmarks/bench_proxy.py --mode nftables --sizes 1000x10,5000x10,10000x10,5000x50
	@$(BIN)/python benchmarks/bench_dns.py

bench-proxy: setup
	@PYTHONPATH=tests $(BIN)/python benchmarks/bench_proxy.py && PYTHONPATH=tests $(BIN)/python benchmarks/bench_proxy_path.py

# What is left after many pods were made and removed at random moments; some minutes.
soak: setup
	@scripts/setup test
	@SAMPAN_SOAK_PODS=1200 $(BIN)/pytest tests/kernel/test_soak.py

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -prune -exec rm -rf {} +
