//! `gateway.networking.k8s.io` as it is read: what is looked at, and of what is not supported, that it is there.
//!
//! Values that the definitions enumerate are texts: another release may have more, which are then refused by name.

mod gateway;
mod grant;
mod route;

pub use gateway::{
    Address, AllowedRoutes, CertificateRef, Gateway, GatewayClass, GatewayStatus, KindRef,
    Listener, ListenerStatus,
};
pub use grant::ReferenceGrant;
pub use route::{
    BackendRef, CorsFilter, GrpcMatch, GrpcMethod, GrpcRoute, GrpcRule, HeaderFilter, HttpMatch,
    HttpRoute, HttpRule, MirrorFilter, NamedValue, ParentRef, ParentStatus, PathMatch,
    PathModifier, RedirectFilter, RewriteFilter, RouteFilter, RouteStatus, Timeouts, ValueMatch,
};

/// The group of all of them.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// Says how the API names a kind.
macro_rules! kind {
    ($type:ty, $kind:literal, $version:literal, $plural:literal, $scope:ty) => {
        impl k8s_openapi::Resource for $type {
            const API_VERSION: &'static str = concat!("gateway.networking.k8s.io/", $version);
            const GROUP: &'static str = $crate::gateway::types::GROUP;
            const KIND: &'static str = $kind;
            const VERSION: &'static str = $version;
            const URL_PATH_SEGMENT: &'static str = $plural;
            type Scope = $scope;
        }

        impl k8s_openapi::Metadata for $type {
            type Ty = k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

            fn metadata(&self) -> &Self::Ty {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut Self::Ty {
                &mut self.metadata
            }
        }
    };
}
use kind;
