//! Joins the rooms: the loop, the workers, HTTP, start, stop, configuration.
