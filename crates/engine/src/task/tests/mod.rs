mod calendars;
mod edges;
mod explaining;
mod firing;
mod registering;
mod runs;
mod time;
mod world;
