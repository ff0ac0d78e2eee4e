# EmbryoFL. `make help` lists what there is.
SHELL := /bin/bash
# So that `make hub` prints only the command's output, also when make is called by make.
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
VENV ?= .embryofl/venv
BIN := $(VENV)/bin
# Runs scripts/doctor.py, also before the virtual environment exists.
doctor_python = $(firstword $(wildcard $(BIN)/python) $(PYTHON))
has_python = $(doctor_python) -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null
UV ?= $(firstword $(wildcard $(BIN)/uv) uv)
WORKERS ?= -n auto --dist loadgroup --no-loadscope-reorder
comma := ,
# What up, demo, compare and restore take. Make exports what is given, so that scripts read it from their environment.
options := CLINICS DATA IMAGES PORT SET SEEDS NGROK NOTIFY KEEP GPU PYTHON VENV FILE REVOKED DEMO

demo_options = $(if $(CLINICS),--clinics $(CLINICS)) $(if $(DATA),--data "$(DATA)") $(if $(IMAGES),--images $(IMAGES)) $(if $(PORT),--port $(PORT)) \
	$(foreach s,$(subst $(comma), ,$(SET)),--set $(s)) $(if $(KEEP),--keep) $(if $(NGROK),--ngrok) $(if $(NOTIFY),--notify "$(NOTIFY)")

.PHONY: help
help:  ## Show this list
	@echo "make up      the federation in containers (needs Docker);   make demo   the same as local processes"
	@echo "Options: CLINICS=3  DATA=folder  IMAGES=250 (synthetic images per clinic)  PORT=8443  SET=rounds=15,seed=1"
	@echo "         NGROK=1 with NGROK_AUTHTOKEN and NGROK_AGENT in the environment: remote access (docs/operations.md)"
	@echo "         NOTIFY=file (tell people by mail or webhook: docs/operations.md#notifications)"
	@echo "Only for make demo: KEEP=1 (keep running after the run)   Only for make up: GPU=1"
	@echo
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*  ## /  \1|/' | column -t -s '|'

$(VENV)/.ready: $(wildcard services/*/pyproject.toml) $(addprefix requirements/,all.txt torch.txt) scripts/setup.sh scripts/install_torch.sh
	@bash scripts/setup.sh "$(PYTHON)" "$(VENV)"

.PHONY: options
options:
	@GIVEN="$(foreach v,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $v))),$v))" OPTIONS="$(options)" bash scripts/options.sh

.PHONY: setup
setup: $(VENV)/.ready  ## Create the virtual environment (other targets do it when needed)

.PHONY: doctor
doctor:  ## Check this machine: Docker, ports, disk, memory, clock, network, GPU, images, certificates, what is running
	@. scripts/fail.sh && { $(has_python) || \
		fail S2 "make doctor needs Python 3.9 or later. Install it, or name one: make doctor PYTHON=python3.12"; }
	@$(doctor_python) scripts/doctor.py

# What cannot work is said before anything is installed, built or started.
.PHONY: checks
up restore: way := containers
demo: way := demo
checks: options
	@! $(has_python) || $(doctor_python) scripts/doctor.py --short $(way)

.PHONY: demo
demo: checks $(VENV)/.ready  ## Run hub and clinics as local processes and train once; Ctrl-C stops, the next make demo resumes
	@exec $(BIN)/embryofl-demo up $(demo_options)

.PHONY: compare
compare: options $(VENV)/.ready  ## Compare federated training with each clinic alone and with pooled data, on test patients: SEEDS=3
	@$(BIN)/embryofl-demo compare $(if $(CLINICS),--clinics $(CLINICS)) $(if $(DATA),--data "$(DATA)") \
		$(if $(IMAGES),--images $(IMAGES)) $(if $(SEEDS),--seeds $(SEEDS)) $(foreach s,$(subst $(comma), ,$(SET)),--set $(s))

.PHONY: up
up: checks  ## Build images, create keys and data, start hub and clinics in containers, start a run
	@bash scripts/compose.sh up

.PHONY: status
status:  ## Show run, round, clinics and their latest metrics, and what the hub is waiting for
	@bash scripts/either.sh status

.PHONY: watch
watch:  ## Follow the run until it has ended
	@DO="status --follow" bash scripts/either.sh hub

.PHONY: monitor
monitor:  ## Run the installed Prometheus on `make demo` and print the command that starts Grafana
	@VENV="$(VENV)" bash scripts/monitor.sh

.PHONY: hub
hub:  ## Run a hub command: make hub DO="suspend clinic-2" (DO=--help lists all)
	@bash scripts/either.sh hub

.PHONY: invite
invite:  ## Invite a clinic: make invite CLINIC=lisbon [DAYS=7] [RECONNECT=1]; without CLINIC: list invites; WITHDRAW=lisbon
	@DO='$(if $(WITHDRAW),withdraw "$(WITHDRAW)",$(if $(CLINIC),invite "$(CLINIC)" $(if $(DAYS),--days $(DAYS)) $(if $(RECONNECT),--reconnect),invites))' \
		bash scripts/either.sh hub

.PHONY: console-password
console-password:  ## Create a new console password for the first person, print it once, end that person's sessions
	@bash scripts/either.sh console-password

.PHONY: notify-test
notify-test:  ## Send a test message by mail or webhook, as NOTIFY=file of make up or make demo says
	@bash scripts/either.sh notify-test

.PHONY: app
app:  ## Open the app of a local clinic, to score a cohort: make app CLINIC=clinic-1 [APP_PORT=8088]; Ctrl-C stops
	@bash scripts/either.sh app

.PHONY: backup
backup:  ## Back up the hub's complete state, even during a run, encrypted to a passphrase: make backup FILE=hub.age [TO=age1..., a public key]
	@bash scripts/either.sh backup

.PHONY: restore
restore: $(if $(DEMO),,checks)  ## Restore a hub from a backup, with the same identity: make restore FILE=hub.age REVOKED=none (or who was revoked since; DEMO=1: as local processes)
	@bash scripts/either.sh restore

.PHONY: logs
logs:  ## Show the end of each log
	@bash scripts/either.sh logs

.PHONY: down
down:  ## Stop everything; the state is kept
	@bash scripts/either.sh down

.PHONY: clean
clean:  ## Stop everything and delete the state, after confirmation
	@bash scripts/either.sh clean

.PHONY: lint
lint: $(VENV)/.ready-dev  ## Check style, types, unused code, shell scripts and GitHub's workflows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vulture
	$(BIN)/vulture services tests
	$(BIN)/shellcheck .ci/run $$(git ls-files '*.sh')
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/mypy services

.PHONY: test
test: $(VENV)/.ready-dev  ## Run unit tests, and federations of real processes
	$(BIN)/python -m pytest $(WORKERS) -m "not containers and not slow"

.PHONY: test-all
test-all: $(VENV)/.ready-dev  ## Run these and the slow ones, which docs/contributing.md lists
	$(BIN)/python -m pytest $(WORKERS) -m "not containers and not alone"
	$(BIN)/python -m pytest -m alone

.PHONY: test-unit
test-unit: $(VENV)/.ready-dev  ## Run unit tests only: nothing is trained or started
	$(BIN)/python -m pytest $(WORKERS) -m "not containers and not integration and not slow"

.PHONY: test-containers
test-containers: $(VENV)/.ready-dev  ## Test the federation in containers (needs Docker)
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder -m containers

.PHONY: lock
lock:  ## Rewrite requirements/ after a change of requirements: UPGRADE=numpy takes the newest numpy that fits, UPGRADE=all all newest
	@bash scripts/lock.sh "$(UV)" $(if $(filter all,$(UPGRADE)),--upgrade,$(addprefix --upgrade-package=,$(subst $(comma), ,$(UPGRADE))))

.PHONY: audit
audit: .embryofl/tools/.ready  ## Look up the packages of requirements/ in PyPI's list of known vulnerabilities
	@.embryofl/tools/bin/python scripts/audit.py

.embryofl/tools/.ready: requirements/tools.txt
	@$(PYTHON) -m venv .embryofl/tools
	@.embryofl/tools/bin/python -m pip install -q --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements/tools.txt
	@touch $@

.PHONY: release
release:  ## Write the current commit's release into dist/: source, wheels, images (needs Docker), contents, checksums; RELEASE_KEY=file signs
	@$(PYTHON) scripts/release.py

$(VENV)/.ready-dev: $(VENV)/.ready requirements/dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements/dev.txt
	@touch $@
