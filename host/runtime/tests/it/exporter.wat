;; An exporter without commands: loaded and described, but no stage calls it yet.
(module
  (memory (export "memory") 1)
  (data (i32.const 16) "test exporter")
  (data (i32.const 256) "\10\00\00\00\0d\00\00\00" "\10\00\00\00\0d\00\00\00" "\10\00\00\00\0d\00\00\00")
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
  (func (export "donjon:plugin/lifecycle@0.2.0#describe") (result i32) (i32.const 256))
  (func (export "donjon:plugin/lifecycle@0.2.0#init") (param i32 i32 i32 i32) (result i32) (i32.const 320))
  (func (export "donjon:plugin/commands@0.2.0#list-commands") (result i32) (i32.const 320))
  (func (export "donjon:plugin/commands@0.2.0#run") (param i32 i32 i32 i32) (result i32) (i32.const 320)))
