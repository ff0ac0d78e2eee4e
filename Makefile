# EmbryoFL. `make help` lists what there is.
SHELL := /bin/bash
# What `make hub` prints is the answer alone, also when make is called by make.
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
VENV ?= .embryofl/venv
BIN := $(VENV)/bin
CLINICS ?=
DATA ?=
PORT ?= 8443
SET ?=
DO ?= --help
FILE ?=
DEMO ?=
SEEDS ?=
IMAGES ?=
NGROK ?=
WORKERS ?= -n logical --dist loadgroup
comma := ,

demo_options = $(if $(CLINICS),--clinics $(CLINICS)) $(if $(DATA),--data "$(DATA)") $(if $(IMAGES),--images $(IMAGES)) --port $(PORT) \
	$(foreach s,$(subst $(comma), ,$(SET)),--set $(s)) $(if $(KEEP),--keep) $(if $(NGROK),--ngrok)

.PHONY: help
help:  ## This list
	@echo "make up      the federation in containers (needs Docker);   make demo   the same as plain processes"
	@echo "Options: CLINICS=3  DATA=folder  IMAGES=400 (synthetic ones, a clinic)  PORT=8443  SET=rounds=15,seed=1"
	@echo "         NGROK=1 with NGROK_AUTHTOKEN and NGROK_AGENT in the environment: remote access (docs/operations.md)"
	@echo "Only for make demo: KEEP=1 (stay up after the run)   Only for make up: GPU=1"
	@echo
	@grep -hE '^[a-z-]+:.*  ## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*  ## /  \1|/' | column -t -s '|'

$(VENV)/.ready: $(wildcard services/*/pyproject.toml) constraints.txt scripts/setup.sh
	@bash scripts/setup.sh "$(PYTHON)" "$(VENV)"

.PHONY: setup
setup: $(VENV)/.ready  ## Make the virtual environment (done by the others when needed)

.PHONY: demo
demo: $(VENV)/.ready  ## Hub and clinics as plain processes, one run, results; Ctrl-C stops, the next one goes on
	@exec $(BIN)/embryofl-demo up $(demo_options)

.PHONY: compare
compare: $(VENV)/.ready  ## Federated against each clinic alone and pooled, on held-out patients: SEEDS=3
	@$(BIN)/embryofl-demo compare $(if $(CLINICS),--clinics $(CLINICS)) $(if $(DATA),--data "$(DATA)") \
		$(if $(IMAGES),--images $(IMAGES)) $(if $(SEEDS),--seeds $(SEEDS)) $(foreach s,$(subst $(comma), ,$(SET)),--set $(s))

.PHONY: up
up:  ## Build images, make keys and data, start hub and clinics in containers, start a run
	@CLINICS="$(CLINICS)" DATA="$(DATA)" PORT="$(PORT)" SET="$(SET)" IMAGES="$(IMAGES)" NGROK="$(NGROK)" bash scripts/compose.sh up

.PHONY: status
status:  ## The run, the round, each clinic's state and last metrics, what is waited for
	@bash scripts/either.sh status

.PHONY: watch
watch:  ## Follow the run until it is over
	@bash scripts/either.sh watch

.PHONY: monitor
monitor:  ## Prometheus of this machine's packages against `make demo`, and the way to Grafana
	@bash scripts/monitor.sh

.PHONY: hub
hub:  ## A command of the hub's: make hub DO="suspend clinic-2" (DO=--help lists them)
	@DO='$(subst ','\'',$(DO))' bash scripts/either.sh hub

.PHONY: invite
invite:  ## What to send to a new clinic: make invite CLINIC=lisbon [DAYS=7] [RECONNECT=1]; without CLINIC: all invites; WITHDRAW=lisbon
	@DO='$(if $(WITHDRAW),withdraw $(WITHDRAW),$(if $(CLINIC),invite $(CLINIC) $(if $(DAYS),--days $(DAYS)) $(if $(RECONNECT),--reconnect),invites))' \
		bash scripts/either.sh hub

.PHONY: console-password
console-password:  ## Another password for the console, printed once; who was logged in is out
	@bash scripts/either.sh password

.PHONY: app
app:  ## The own page of a local clinic, to score a cohort: make app CLINIC=clinic-1 [APP_PORT=8088]; Ctrl-C stops
	@CLINIC="$(CLINIC)" APP_PORT="$(APP_PORT)" bash scripts/app.sh

.PHONY: backup
backup:  ## The hub's whole state in one file, also while a run goes on: make backup FILE=hub.tar (holds private keys)
	@FILE="$(FILE)" bash scripts/either.sh backup

.PHONY: restore
restore:  ## The hub of a backup, with the same identity: make restore FILE=hub.tar (DEMO=1: as plain processes)
	@FILE="$(FILE)" PORT="$(PORT)" DEMO="$(DEMO)" bash scripts/either.sh restore

.PHONY: logs
logs:  ## The end of every log
	@bash scripts/either.sh logs

.PHONY: down
down:  ## Stop everything; the state stays
	@bash scripts/either.sh down

.PHONY: clean
clean:  ## Stop everything and delete the state, after asking
	@bash scripts/either.sh clean

.PHONY: lint
lint: $(VENV)/.ready-dev  ## Check style, types, unused code and shell scripts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vulture
	$(BIN)/vulture services tests
	$(BIN)/shellcheck .ci/run $$(git ls-files '*.sh')
	$(BIN)/mypy services

.PHONY: test
test: $(VENV)/.ready-dev  ## Unit tests, and federations of real processes
	$(BIN)/python -m pytest $(WORKERS) -m "not containers"

.PHONY: test-unit
test-unit: $(VENV)/.ready-dev  ## Unit tests only
	$(BIN)/python -m pytest $(WORKERS) -m "not containers and not federation"

.PHONY: test-containers
test-containers: $(VENV)/.ready-dev  ## The federation in real containers (needs Docker)
	$(BIN)/python -m pytest -m containers

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements-dev.txt
	@touch $@
