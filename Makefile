# Short names for ./caas, which needs no make. Each check is defined in bootstrap/checks.py.
.DEFAULT_GOAL := help
NO_LIMIT := -o faulthandler_timeout=0
.PHONY: help setup test browser fuzz crash kills orders keyless protections check coverage format bench demo up simulate screenshots weight docs clean

help: ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

setup: ## install what uv.lock says into .caas/
	@./caas setup

test: ## every test (one file: ./caas test tests/...)
	@./caas test

fuzz: ## every call of the API, fuzzed at length from its OpenAPI document, and with card numbers
	@CAAS_FUZZ_EXAMPLES=500 ./caas test $(NO_LIMIT) \
	  tests/bad_input/test_fuzzed_from_the_document.py tests/bad_input/test_card_canaries.py

crash: ## a death at every await of every flow, the first three times it is passed (an hour)
	@CAAS_CRASH=all ./caas test tests/robustness/test_crash_at_every_await.py $(NO_LIMIT)

kills: ## processes and database killed with -9 under load, two hundred times in all
	@CAAS_KILLS=100 ./caas test tests/robustness/test_killed_processes.py $(NO_LIMIT)

orders: ## messages, refunds and disputes of one payment in every order that is possible
	@CAAS_ORDERS=all ./caas test tests/robustness/test_messages_in_any_order.py \
	  tests/robustness/test_money_in_any_order.py \
	  tests/robustness/test_decisions_in_any_order.py $(NO_LIMIT)

keyless: ## a gateway that ignores keys and loses answers, lived from a dozen seeds, twice each
	@CAAS_KEYLESS=all ./caas test tests/strangers/test_a_gateway_without_keys.py $(NO_LIMIT)

browser: ## every journey through the pages in every language and window
	@CAAS_BROWSER=all ./caas test tests/console $(NO_LIMIT)

protections: ## without each protection of money, the test that shows it fails
	@CAAS_PROTECTIONS=all ./caas test tests/protections $(NO_LIMIT)

check: ## format, lint, layers, types, dead code, dependencies, spelling, fast tests
	@./caas check

coverage: ## that every branch of the rules is run by a test; and how far Payment Processing is
	@./caas run coverage erase
	@for tests in "rules payment_processing api" "reconciliation billing console" \
	  "order_management service_catalog robustness simulation"; do \
	    ./caas run coverage run -m pytest -q $$(printf 'tests/%s ' $$tests) & \
	  done; wait
	@./caas run coverage combine --quiet
	@./caas run coverage report --include='src/caas/payment_processing/*'
	@./caas run coverage report --fail-under=100 --include='src/caas/rules/*'

format: ## put the sources into the one format
	@./caas run ruff check --fix --quiet && ./caas run ruff format

bench: ## the goals of docs/performance, measured on this machine
	@./caas bench

demo: ## every flow and every failure, run and explained
	@./caas demo

up: ## the whole platform, with simulated partners, on this machine
	@./caas up

simulate: ## twenty simulations of a hundred stories each
	@./caas simulate --rounds 20 --stories 100

screenshots: ## picture the pages of docs/console.md anew
	@./caas run python -m tests.console.screenshots

weight: ## what first pages weigh, and how soon a slow telephone can use them
	@./caas run python -m tests.console.first_page

docs: ## make docs/ anew from the sources
	@./caas run python -m docs.generate

clean: ## remove what ./caas made, the database of `up` and `demo` included
	rm -rf .caas
