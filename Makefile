# make demo [FOR=20s]   see it work: installs what is missing, builds, runs the demonstration (without FOR: until Ctrl-C)
# make test             everything that CI runs
# make bench            the figures beside their limits
# make sim SEEDS=n      more of the simulation
# make mutants          planted faults, each of which the simulation must catch

FOR ?=
SEEDS ?= 200
MUTANTS := planted-ack-before-fsync planted-lost-retry planted-id-from-counter
MUTANT_SEEDS ?= 200

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit deny mutants sim bench

help:
	@sed -n 's/^# make/make/p' Makefile

demo:
	@tools/setup postgres cmake
	cargo run --release --locked -- demo $(if $(FOR),--for $(FOR))

test: lint unit mutants deny

lint:
	@tools/setup cmake
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

# Unit tests, the simulation, and the tests that start Postgres servers of their own.
unit:
	@tools/setup postgres cmake
	SEEDS=$(SEEDS) cargo test --locked

sim:
	@tools/setup cmake
	SEEDS=$(SEEDS) cargo test --locked --release --test sim -- --nocapture

# A mutant that builds and whose simulation names no violated invariant has survived: that is the failure.
mutants:
	@tools/setup cmake
	@for mutant in $(MUTANTS); do \
		cargo test --locked --no-run --test sim --features $$mutant || exit 1; \
		if SEEDS=$(MUTANT_SEEDS) cargo test --locked --test sim --features $$mutant 2>&1 | grep -q 'invariant violated'; then \
			echo "mutants: $$mutant is caught"; \
		else \
			echo "mutants: $$mutant survived the simulation"; exit 1; \
		fi; \
	done

deny:
	@tools/setup cargo-deny
	cargo deny --locked check licenses bans sources

bench:
	@tools/setup postgres cmake wrk
	cargo bench --locked --bench pipeline
