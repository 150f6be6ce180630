// An enricher in JavaScript: says which team owns the service of an alert, from the table in its configuration.

import { alerts } from './donjon-batch.mjs';

let teams = {};

export const lifecycle = {
  describe: () => ({ name: 'team-javascript', version: '1.0.0', about: 'Says which team owns a service.', more: [] }),
  init(tenant, config) {
    teams = JSON.parse(config).teams ?? {};
  },
};

export const enrichment = {
  wants: () => ({ columns: ['service', 'labels.shard'], documents: false, more: [] }),
  enrich: (batch) => Array.from(alerts(batch), (alert) => ({ alert: alert.index, changes: [changed(alert)] })),
};

function changed(alert) {
  const team = teams[alert.get('service')];
  // A service that is in no table is an error here, so that the tests can see how one is told.
  if (team === undefined) throw new Error(`no team for ${alert.get('service')}`);
  const json = JSON.stringify(`${team}-${alert.get('labels.shard', 0)}`);
  return { tag: 'set', val: { path: 'labels.team', json } };
}
