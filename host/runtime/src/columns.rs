//! Which attributes a plugin is handed: those it always wants and those of the rules it took, within a cap. A rule that does
//! not fit counts as refused, with the reason: it must not be judged on attributes that were left out.

use std::collections::BTreeSet;

use donjon_core::batch::{AcceptedRule, Column, Diagnostic, RuleReport, Wants};

/// Most columns of one tenant for one plugin.
pub(crate) const MAX_COLUMNS: usize = 4096;
/// Longest attribute path of a rule, in bytes.
pub(crate) const MAX_COLUMN_BYTES: usize = 256;

const _: () = assert!(
    MAX_COLUMNS * MAX_COLUMN_BYTES <= 1 << 20,
    "the names of a batch are small beside its values"
);

/// The columns in the order of their names; empty for a plugin that wants documents.
pub(crate) fn of_rules(wants: &Wants, reports: &mut [RuleReport]) -> Vec<Column> {
    let Wants::Fields(fields) = wants else {
        return Vec::new();
    };
    let mut names: BTreeSet<String> = fields.iter().cloned().collect();
    let mut columns: Vec<Column> = Vec::with_capacity(names.len());
    for field in fields {
        if !columns.iter().any(|known| known.name == *field) {
            columns.push(Column::new(field));
        }
    }
    for report in reports {
        let Ok(rule) = &report.outcome else { continue };
        match what_does_not_fit(rule, &names) {
            None => names.extend(rule.columns.iter().cloned()),
            Some(message) => {
                report.outcome = Err(vec![Diagnostic {
                    message,
                    line: 0,
                    column: 0,
                }]);
            }
        }
    }
    let wanted: BTreeSet<&String> = fields.iter().collect();
    let of_rules = names.iter().filter(|name| !wanted.contains(name));
    columns.extend(of_rules.map(|name| Column::new(name)));
    columns
}

fn what_does_not_fit(rule: &AcceptedRule, names: &BTreeSet<String>) -> Option<String> {
    if rule.columns.iter().any(|name| name.len() > MAX_COLUMN_BYTES) {
        return Some(format!(
            "the rule reads an attribute whose path is longer than the limit of {MAX_COLUMN_BYTES} bytes"
        ));
    }
    let new = rule
        .columns
        .iter()
        .filter(|name| !names.contains(*name))
        .collect::<BTreeSet<_>>();
    (names.len() + new.len() > MAX_COLUMNS).then(|| {
        format!("with this rule all rules together read more attributes than the limit of {MAX_COLUMNS}; delete others first")
    })
}

#[cfg(test)]
mod tests {
    use donjon_core::RuleId;

    use super::*;

    fn report(id: &str, columns: impl IntoIterator<Item = String>) -> RuleReport {
        let columns = columns.into_iter().collect();
        RuleReport {
            rule: RuleId::from(id),
            outcome: Ok(AcceptedRule {
                columns,
                ..AcceptedRule::default()
            }),
        }
    }

    #[test]
    fn a_rule_whose_columns_do_not_fit_is_reported_and_the_others_stand() {
        let mut reports = [
            report("first", (0..MAX_COLUMNS - 2).map(|i| format!("labels.l{i:04}"))),
            report("too many", (0..3).map(|i| format!("x{i}"))),
            report("too long", ["x".repeat(MAX_COLUMN_BYTES + 1)]),
            report("fits", ["x0".to_owned(), "labels.l0000".to_owned()]),
        ];
        let columns = of_rules(&Wants::Fields(vec!["name".to_owned()]), &mut reports);
        assert_eq!(columns.len(), MAX_COLUMNS);
        assert_eq!(columns[0].name, "name", "what it wants comes first");
        assert!(columns[1..].is_sorted_by(|a, b| a.name < b.name));
        let refused: Vec<_> = reports
            .iter()
            .filter(|report| report.outcome.is_err())
            .map(|r| r.rule.as_str())
            .collect();
        assert_eq!(refused, ["too many", "too long"]);
    }

    #[test]
    fn a_plugin_that_wants_documents_is_handed_no_columns() {
        assert!(of_rules(&Wants::Documents, &mut [report("r", ["a".to_owned()])]).is_empty());
    }
}
