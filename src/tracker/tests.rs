//! The tracker as peers experience it.

mod basics;
mod cold;
mod crowd;
mod healing;
mod links;
mod moves;
mod networks;
mod players;
mod publishing;
mod scenario;
mod sessions;
mod views;
mod waiting;
mod world;
