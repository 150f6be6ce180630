//! Tests of the store from outside: through its public interface, on real files, with processes that are killed.

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod samples_v2;
