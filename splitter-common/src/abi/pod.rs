//! Plain old data, for aya's maps.
#![allow(unsafe_code)]

use super::{
    Backend, BackendCounters, Control, Endpoint, Flow, FlowKey, Fragment, FragmentKey, Neighbour, Ports,
    RouteTable, RuleKey, ServiceTable, TableCounters, Translation,
};
use crate::bench::Workload;

macro_rules! pod {
    ($($name:ty),*) => {
        // SAFETY: repr(C) without implicit padding (the sizes are asserted), valid for any bit pattern: integers
        // and arrays of them only.
        $(unsafe impl aya::Pod for $name {})*
    };
}

pod!(
    Backend,
    BackendCounters,
    Control,
    Endpoint,
    Flow,
    FlowKey,
    Fragment,
    FragmentKey,
    Neighbour,
    Ports,
    RouteTable,
    RuleKey,
    ServiceTable,
    TableCounters,
    Translation,
    Workload
);
