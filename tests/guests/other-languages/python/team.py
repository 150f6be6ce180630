"""An enricher in Python: says which team owns the service of an alert, from the table in its configuration."""

import json

from donjon_batch import alerts
from wit_world import exports
from wit_world.exports.enrichment import Change_Set, Patch, Setting
from wit_world.exports.lifecycle import Description
from wit_world.imports.types import Wanted

teams = {}


class Lifecycle(exports.Lifecycle):
    def describe(self):
        return Description("team-python", "1.0.0", "Says which team owns a service.", [])

    def init(self, tenant, config):
        teams.update(json.loads(config).get("teams", {}))


class Enrichment(exports.Enrichment):
    def wants(self):
        return Wanted(columns=["service", "labels.shard"], documents=False, more=[])

    def enrich(self, batch):
        return [Patch(alert.index, [changed(alert)]) for alert in alerts(batch)]


def changed(alert):
    # A service that is in no table is an error here, so that the tests can see how one is told.
    team = f"{teams[alert.get('service')]}-{alert.get('labels.shard', 0)}"
    return Change_Set(Setting(path="labels.team", json=json.dumps(team)))
