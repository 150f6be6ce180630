//! What a plugin file has to go through, and what a running plugin cannot do, seen from outside with real components.

mod calls;
mod guests;
mod loading;
