//! The one macro of a plugin: makes a type the component.

use crate::roles::archive::Archiver;
use crate::roles::commands::Exporter;
use crate::roles::correlation::Correlator;
use crate::roles::enrichment::Enricher;

/// Make a type the component: `donjon_plugin::export!(MyPlugin as correlator);`, or with several roles:
/// `donjon_plugin::export!(MyPlugin as correlator, enricher);`
///
/// A role is one of `correlator`, `enricher`, `archiver`, `exporter`. One call a crate. On a native target it only
/// checks that the type has the roles. A crate that others use as a library keeps the call behind a feature, or the
/// exports of both meet in one component.
#[macro_export]
#[rustfmt::skip] // it moves the closing braces of this body further at each run
macro_rules! export {
    ($plugin:ty as $($role:ident),+ $(,)?) => {
        $(const _: fn() = $crate::__private::$role::<$plugin>;)+

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "generated: functions with fixed names that take pointers and lengths")]
        const _: () = {
            ::std::thread_local! {
                static HELD: ::std::cell::RefCell<::std::option::Option<$plugin>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            struct Exported;

            impl $crate::__private::Held for Exported {
                type Plugin = $plugin;

                fn hold(plugin: $plugin) {
                    HELD.replace(::std::option::Option::Some(plugin));
                }

                fn with<R>(call: impl FnOnce(&mut $plugin) -> R) -> ::std::option::Option<R> {
                    HELD.with_borrow_mut(|held| held.as_mut().map(call))
                }
            }

            $crate::__private::lifecycle::export!(Exported with_types_in $crate::__private::lifecycle);
            $($crate::__private::$role::export!(Exported with_types_in $crate::__private::$role);)+
        };
    };
}

/// Compiles for a correlator only.
pub fn correlator<P: Correlator>() {}
/// Compiles for an enricher only.
pub fn enricher<P: Enricher>() {}
/// Compiles for an archiver only.
pub fn archiver<P: Archiver>() {}
/// Compiles for an exporter only.
pub fn exporter<P: Exporter>() {}
