;; What the enricher of these tests does beside its own when it imports WASI: `$ask` sets `seen` to the seconds of the clock
;; and a random number, in 20 digits each, and writes a line to standard error in two pieces.
  (data (i32.const 2048) "\2200000000000000000000 00000000000000000000\22")
  (data (i32.const 2112) "Traceback\n  File \22team.py\22, line 12\n    ~~^^\nKeyError: 7")
  (func $digits (param $at i32) (param $number i64)
    (local $i i32)
    (local.set $i (i32.const 19))
    (loop $next
      (i32.store8 (i32.add (local.get $at) (local.get $i))
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (local.set $i (i32.sub (local.get $i) (i32.const 1)))
      (br_if $next (i32.ge_s (local.get $i) (i32.const 0)))))
  (func $say (param $from i32) (param $bytes i32)
    (call $write (call $stderr) (local.get $from) (local.get $bytes) (i32.const 2400)))
  (func $ask
    (call $environment (i32.const 2400))
    (if (i32.load offset=4 (i32.const 2400)) (then (unreachable)))
    (call $directories (i32.const 2400))
    (if (i32.load offset=4 (i32.const 2400)) (then (unreachable)))
    (call $now (i32.const 2400))
    (call $digits (i32.const 2049) (i64.load (i32.const 2400)))
    (call $digits (i32.const 2070) (call $random))
    (call $say (i32.const 2112) (i32.const 7))
    (call $say (i32.const 2119) (i32.const 50))
    ;; THEN
  )
