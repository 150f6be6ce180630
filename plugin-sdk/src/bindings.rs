//! The generated half of a guest: what `wit/` says, as functions. Nothing is written by hand here.
//!
//! Every type of the contract is mapped to the type of this crate with the same shape, so that no value is converted.
//! A type that is added to `wit/` and not mapped here is generated, and the compiler then says where the two differ.
//!
//! One world for all capabilities, so that each is generated once; `wit-component` drops the imports that a plugin does
//! not use. One world for the life cycle and one a role; `export!` takes the first and those of its roles, and only what
//! it takes is asked of the plugin. Together they are the worlds of `wit/plugin.wit`.
#![allow(
    unsafe_code,
    missing_docs,
    clippy::all,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::panic,
    reason = "generated: values cross the boundary of the component as pointers and lengths"
)]

pub mod capabilities {
    wit_bindgen::generate!({
        inline: "
            package donjon:sdk-capabilities;
            world capabilities {
                import donjon:host/log@0.2.0;
                import donjon:host/config@0.2.0;
                import donjon:host/kv@0.2.0;
                import donjon:host/topology@0.2.0;
                import donjon:host/history@0.2.0;
                import donjon:host/elasticsearch@0.2.0;
                import donjon:host/blob@0.2.0;
                import donjon:host/progress@0.2.0;
            }
        ",
        path: "../wit",
        generate_all,
        with: {
            "donjon:types/types@0.2.0": crate::wire,
            "donjon:host/log@0.2.0/level": crate::capability::Level,
            "donjon:host/kv@0.2.0/entry": crate::capability::Entry,
            "donjon:host/topology@0.2.0/dependency": crate::capability::Dependency,
            "donjon:host/topology@0.2.0/application": crate::capability::Application,
            "donjon:host/elasticsearch@0.2.0/method": crate::capability::Method,
            "donjon:host/elasticsearch@0.2.0/request": crate::capability::Request,
            "donjon:host/elasticsearch@0.2.0/response": crate::capability::Response,
        },
    });
}

pub mod lifecycle {
    wit_bindgen::generate!({
        inline: "package donjon:sdk-lifecycle; world lifecycle { export donjon:plugin/lifecycle@0.2.0; }",
        path: "../wit",
        pub_export_macro: true,
        runtime_path: "::donjon_plugin::__private::wit_bindgen::rt",
        with: {
            "donjon:types/types@0.2.0": crate::wire,
            "donjon:plugin/lifecycle@0.2.0/description": crate::Description,
        },
    });
}

pub mod correlation {
    wit_bindgen::generate!({
        inline: "package donjon:sdk-correlation; world correlation { export donjon:plugin/correlation@0.2.0; }",
        path: "../wit",
        pub_export_macro: true,
        runtime_path: "::donjon_plugin::__private::wit_bindgen::rt",
        with: {
            "donjon:types/types@0.2.0": crate::wire,
            "donjon:plugin/correlation@0.2.0/policy": crate::Policy,
            "donjon:plugin/correlation@0.2.0/on-missing-group": crate::OnMissingGroup,
            "donjon:plugin/correlation@0.2.0/rule": crate::Rule,
            "donjon:plugin/correlation@0.2.0/diagnostic": crate::Diagnostic,
            "donjon:plugin/correlation@0.2.0/accepted": crate::Accepted,
            "donjon:plugin/correlation@0.2.0/rule-outcome": crate::RuleOutcome,
            "donjon:plugin/correlation@0.2.0/rule-report": crate::RuleReport,
            "donjon:plugin/correlation@0.2.0/rule-failure": crate::wire::RuleFailure,
            "donjon:plugin/correlation@0.2.0/findings": crate::wire::Findings,
        },
    });
}

pub mod enrichment {
    wit_bindgen::generate!({
        inline: "package donjon:sdk-enrichment; world enrichment { export donjon:plugin/enrichment@0.2.0; }",
        path: "../wit",
        pub_export_macro: true,
        runtime_path: "::donjon_plugin::__private::wit_bindgen::rt",
        with: {
            "donjon:types/types@0.2.0": crate::wire,
            "donjon:plugin/enrichment@0.2.0/setting": crate::Setting,
            "donjon:plugin/enrichment@0.2.0/change": crate::Change,
            "donjon:plugin/enrichment@0.2.0/patch": crate::Patch,
        },
    });
}

pub mod archive {
    wit_bindgen::generate!({
        inline: "package donjon:sdk-archive; world archive { export donjon:plugin/archive@0.2.0; }",
        path: "../wit",
        pub_export_macro: true,
        runtime_path: "::donjon_plugin::__private::wit_bindgen::rt",
        with: {
            "donjon:types/types@0.2.0": crate::wire,
            "donjon:plugin/archive@0.2.0/item": crate::Item,
            "donjon:plugin/archive@0.2.0/item-outcome": crate::ItemOutcome,
            "donjon:plugin/archive@0.2.0/order": crate::Order,
            "donjon:plugin/archive@0.2.0/query": crate::Query,
            "donjon:plugin/archive@0.2.0/hit": crate::Hit,
            "donjon:plugin/archive@0.2.0/page": crate::Page,
        },
    });
}

pub mod commands {
    wit_bindgen::generate!({
        inline: "package donjon:sdk-commands; world commands { export donjon:plugin/commands@0.2.0; }",
        path: "../wit",
        pub_export_macro: true,
        runtime_path: "::donjon_plugin::__private::wit_bindgen::rt",
        with: {
            "donjon:types/types@0.2.0": crate::wire,
            "donjon:plugin/commands@0.2.0/command": crate::Command,
        },
    });
}
