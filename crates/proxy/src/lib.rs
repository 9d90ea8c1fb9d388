//! The service proxy: Services and EndpointSlices to nftables
