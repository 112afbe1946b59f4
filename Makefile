# make demo [FOR=20s]   see it work: installs what is missing, builds, runs the demonstration (without FOR: until Ctrl-C)
# make test             everything that CI runs
# make bench            the figures beside their limits
# make sim SEEDS=n      more of the simulation
# make mutants          planted faults, each of which the simulation must catch
# make storms [SEED=n]  Postgres stopped and crashed 50 times, a disk that fails 20 times: times beside their limits

FOR ?=
SEEDS ?= 200

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit deny mutants sim bench storms

help:
	@sed -n 's/^# make/make/p' Makefile

demo:
	@tools/setup postgres cmake
	cargo run --release --locked -- demo $(if $(FOR),--for $(FOR))

test: lint unit deny

lint:
	@tools/setup cmake
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# Unit tests, the simulation, and the tests that start Postgres servers of their own.
unit:
	@tools/setup postgres cmake strace
	SEEDS=$(SEEDS) cargo test --locked

sim:
	@tools/setup cmake
	SEEDS=$(SEEDS) cargo test --locked --release --test sim -- --nocapture

mutants:
	@tools/setup cmake
	cargo test --locked --test sim planted -- --nocapture

# As root, for the faults of the disk: mount, prlimit, strace.
storms:
	@tools/setup postgres cmake strace
	CRASHES=50 ROUNDS=20 STOPS=5 LIMITS=1 cargo test --locked --test storms -- --nocapture --test-threads=1

deny:
	@tools/setup cargo-deny
	cargo deny --locked check licenses bans sources

bench:
	@tools/setup postgres cmake wrk
	cargo bench --locked --bench pipeline
