#!/usr/bin/env bash
# What `make run` says before the server starts: where to look, and three lines to try.
cat <<'TEXT'

Donjon is starting with the starter rules of plugins/rules/starter-rules.json; its data is in .data/.
  incidents   http://127.0.0.1:8080/incidents
  plugins     http://127.0.0.1:8080/plugins      drop a .wasm file into target/plugins to swap one
  interface   http://127.0.0.1:8080/openapi.json

Try, in another terminal:
  curl -s 'http://127.0.0.1:8080/alerts/event?wait=true' -H 'content-type: application/json' -d '{"name":"disk full","severity":"critical","labels":{"host":"db-7"}}'
  curl -s 'http://127.0.0.1:8080/incidents'
  curl -sN 'http://127.0.0.1:8080/events'

TEXT
