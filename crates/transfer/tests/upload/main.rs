//! Uploads against servers that misbehave and against real ones; a test of a row of the table of faults is named after
//! its number.

//AUTO
mod early;
//PARTS
mod plain;
//REAL
//RES
mod secrets;
mod support;
//TUS
