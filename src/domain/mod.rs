//! What the thing is, in the field's words. Pure data and rules; knows no IO, no clock, nothing of ours.
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod header;
pub mod json;
pub mod lsn;
pub mod parcel;
pub mod routed;
pub mod routing;
pub mod secret;
pub mod seq;
pub mod shard;
pub mod subscription;
pub mod table;
pub mod tenant;

pub use delivery::{
    Attempt, BodyPlace, Delivery, DeliveryId, DeliveryKey, Failure, FilterStatus, Next, Outcome, Pending,
    Sequence, Settled, Status,
};
pub use endpoint::EndpointKey;
pub use event::{Event, EventId, EventName, Pattern, Resource};
pub use header::is_reserved;
pub use lsn::Lsn;
pub use parcel::{Parcel, ParcelId};
pub use routed::{NewDelivery, Routed};
pub use routing::Routing;
pub use secret::{Sealed, Secret};
pub use seq::Seq;
pub use shard::Shard;
pub use subscription::{Options, Ordering, Profile, Subscription, SubscriptionId};
pub use table::{Cell, Change, Column, Image, Operation, ReplicaIdentity, Table, Transaction, TypeKind};
pub use tenant::TenantId;
