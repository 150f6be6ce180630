//! Generated from `wit/`: one set of bindings for each interface that plugins export, so that the life cycle is bound
//! once for all roles. Nothing else in here; `convert.rs` is the only reader of the generated data types.

/// The life cycle that every plugin exports, and the capabilities that this version can link.
pub(crate) mod plugin {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package donjon:runtime;
            world plugin {
                import donjon:host/log@0.2.0;
                import donjon:host/config@0.2.0;
                import donjon:host/kv@0.2.0;
                export donjon:plugin/lifecycle@0.2.0;
            }
        ",
        world: "donjon:runtime/plugin",
        exports: { default: async },
    });
}

/// The role of a correlator.
pub(crate) mod correlator {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package donjon:runtime;
            world correlator { export donjon:plugin/correlation@0.2.0; }
        ",
        world: "donjon:runtime/correlator",
        exports: { default: async },
        with: { "donjon:types/types@0.2.0": super::plugin::donjon::types::types },
    });
}

/// The role of an enricher.
pub(crate) mod enricher {
    wasmtime::component::bindgen!({
        path: "../../wit",
        inline: "
            package donjon:runtime;
            world enricher { export donjon:plugin/enrichment@0.2.0; }
        ",
        world: "donjon:runtime/enricher",
        exports: { default: async },
        with: { "donjon:types/types@0.2.0": super::plugin::donjon::types::types },
    });
}
