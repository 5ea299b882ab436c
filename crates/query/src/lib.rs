//! Search, trace assembly and catalogue of names.
