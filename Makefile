# make demo [FOR=20s]   see it work: installs what is missing, builds, runs the demonstration (without FOR: until Ctrl-C)
# make test             everything that CI runs
# make bench            the figures beside their limits
# make bench-parts      the parts alone, and with millions of rows: the tables of benches/RESULTS.md
# make sim SEEDS=n      more of the simulation
# make power CUTS=n     more power cuts, at n moments of a recorded store (SEED=n: another recording)
# make fuzz T=60        every reader of bytes from outside fuzzed for T seconds; make fuzz-planted: it must find a planted fault
# make mutants          planted faults, each of which the simulation must catch
# make mutants-all [PIECE=folder] [SHARD=k/n]  small changes of the code (cargo-mutants), each of which a test must notice: hours
# make torture KILLS=n  kill -9 under load, and a crash at each named point, three times (SEED=n repeats the same chances)
# make storms [SEED=n] [INDEX=sled]  Postgres stopped and crashed 50 times, a disk that fails 20 times: times beside their limits

FOR ?=
SEEDS ?= 2000
CUTS ?= 200
T ?= 60
KILLS ?= 300
CHANGES ?= 20000
HITS ?= 3
PIECE ?=
SHARD ?=
# What the sidecar itself never does.
NO_PANIC = -D clippy::expect_used -D clippy::panic -D clippy::unreachable -D clippy::unimplemented
INDEX ?= lsm

.DEFAULT_GOAL := help
.PHONY: help demo test lint unit deny mutants mutants-all sim power torture storms bench bench-parts fuzz fuzz-planted

help:
	@sed -n 's/^# make/make/p' Makefile

demo:
	@tools/setup postgres cmake
	cargo run --release --locked -- demo $(if $(FOR),--for $(FOR))

# Says of each stage how long it took.
test:
	@for stage in lint unit deny; do \
		begun=$$(date +%s); \
		$(MAKE) --no-print-directory $$stage || exit 1; \
		echo "stage $$stage: $$(($$(date +%s) - begun)) s"; \
	done

# The sidecar as packages build it is a second program: what it must not hold is looked for.
lint:
	@tools/setup cmake
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings $(NO_PANIC)
	tools/lean

# Unit tests, the simulation, and the tests that start Postgres servers of their own.
unit:
	@tools/setup postgres cmake strace
	SEEDS=$(SEEDS) cargo test --locked --workspace

sim:
	@tools/setup cmake
	SEEDS=$(SEEDS) cargo test --locked --release --test sim -- --nocapture

power:
	@tools/setup cmake
	CUTS=$(CUTS) cargo test --locked --test store power:: -- --nocapture

mutants:
	@tools/setup cmake
	cargo test --locked --test sim planted -- --nocapture

mutants-all:
	@tools/setup postgres cmake cargo-mutants
	SHARD=$(SHARD) tools/mutants $(PIECE)

# The planted fault first: fuzzing that would not find it shows nothing.
fuzz: fuzz-planted
	tools/fuzz $(T)

fuzz-planted:
	@tools/setup cmake cargo-fuzz
	tools/fuzz --planted 60

# In the dev profile: crash points are in no other.
torture:
	@tools/setup postgres cmake
	INDEX=$(INDEX) KILLS=$(KILLS) CHANGES=$(CHANGES) LIMITS=1 cargo test --locked --test torture kill_9 -- --nocapture
	INDEX=$(INDEX) HITS=$(HITS) POINTS=1000 cargo test --locked --test torture crash_point -- --nocapture

# As root, for the faults of the disk: mount, prlimit, strace.
storms:
	@tools/setup postgres cmake strace
	INDEX=$(INDEX) CRASHES=50 ROUNDS=20 STOPS=5 LIMITS=1 cargo test --locked --test storms -- --nocapture --test-threads=1

deny:
	@tools/setup cargo-deny
	cargo deny --locked check licenses bans sources

bench:
	@tools/setup postgres cmake wrk
	cargo bench --locked --bench pipeline

bench-parts:
	@tools/setup cmake
	cargo bench --locked --bench parts
	cargo bench --locked --bench scale
