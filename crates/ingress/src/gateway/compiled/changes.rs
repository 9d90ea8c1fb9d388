//! Filters of routes.

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::Compiling;
use crate::{
    filters::{Cors, Filters, HeaderChange, Mirror, PathChange, Redirect, Rewrite},
    gateway::{
        said::Why,
        types::{
            CorsFilter, HeaderFilter, MirrorFilter, NamedValue, PathModifier, RedirectFilter,
            RewriteFilter, RouteFilter,
        },
        world::Lookups,
    },
};

/// Of one connection, and what says how long a message is: that is told anew by whoever writes it.
const NOT_OURS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// As the definitions have it.
const CORS_MAX_AGE_SECONDS: u32 = 5;

/// What filters are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Rule,
    Backend,
}

impl<L: Lookups> Compiling<'_, '_, '_, L> {
    pub(super) fn filters(&mut self, list: &[RouteFilter], of: Place) -> Result<Filters, Why> {
        let mut filters = Filters::default();
        let mut seen: Vec<&str> = Vec::new();
        for filter in list {
            let type_ = filter.type_.as_str();
            if seen.contains(&type_) && type_ != "RequestMirror" {
                let message = format!("the filter {type_} is there more than once");
                return Err(Why::new("IncompatibleFilters", message));
            }
            seen.push(type_);
            self.filter(filter, of, &mut filters)?;
        }
        if filters.redirect.is_some() && filters.rewrite.is_some() {
            let message = "RequestRedirect and URLRewrite cannot be combined";
            return Err(Why::new("IncompatibleFilters", message));
        }
        Ok(filters)
    }

    fn filter(&mut self, filter: &RouteFilter, of: Place, into: &mut Filters) -> Result<(), Why> {
        let type_ = filter.type_.as_str();
        let whole = of == Place::Rule;
        match type_ {
            "RequestHeaderModifier" => {
                into.request = change(given(type_, &filter.request_header_modifier)?)?
            }
            "ResponseHeaderModifier" => {
                into.response = change(given(type_, &filter.response_header_modifier)?)?
            }
            "RequestMirror" if whole => {
                let mirror = self.mirror(given(type_, &filter.request_mirror)?)?;
                into.mirrors.extend(mirror);
            }
            "RequestRedirect" if whole => {
                into.redirect = Some(redirect(given(type_, &filter.request_redirect)?)?)
            }
            "URLRewrite" => into.rewrite = Some(rewrite(given(type_, &filter.url_rewrite)?)?),
            "CORS" if whole => into.cors = Some(cors(given(type_, &filter.cors)?)),
            other => {
                let place = match of {
                    Place::Rule => "rules",
                    Place::Backend => "backends",
                };
                return Err(Why::unsupported(format!(
                    "the filter {other} is not supported for {place}"
                )));
            }
        }
        Ok(())
    }

    fn mirror(&mut self, filter: &MirrorFilter) -> Result<Option<Mirror>, Why> {
        let (numerator, denominator) = match (filter.percent, filter.fraction) {
            (Some(_), Some(_)) => {
                return Err(Why::unsupported(
                    "a mirror has a percentage or a fraction, not both",
                ));
            }
            (Some(percent), None) => (percent, 100),
            (None, Some(fraction)) => (fraction.numerator, fraction.denominator.unwrap_or(100)),
            (None, None) => (1, 1),
        };
        if denominator == 0 || numerator > denominator {
            return Err(Why::unsupported(
                "the fraction of a mirror is more than all",
            ));
        }
        let backend = self.backend(&filter.backend_ref);
        Ok(backend.map(|backend| Mirror::new(backend, numerator, denominator)))
    }
}

fn given<'f, T>(type_: &str, filter: &'f Option<T>) -> Result<&'f T, Why> {
    let message = || Why::unsupported(format!("the filter {type_} does not say what to do"));
    filter.as_ref().ok_or_else(message)
}

fn change(filter: &HeaderFilter) -> Result<HeaderChange, Why> {
    let name = |text: &str| {
        let name = HeaderName::from_bytes(text.as_bytes()).ok();
        let name = name.filter(|name| !NOT_OURS.contains(name));
        name.ok_or_else(|| Why::unsupported(format!("the header {text} cannot be changed")))
    };
    let pair = |named: &NamedValue| {
        let value = HeaderValue::from_bytes(named.value.as_bytes());
        let value = value.map_err(|_| {
            Why::unsupported(format!("the value of the header {} is none", named.name))
        })?;
        Ok((name(&named.name)?, value))
    };
    Ok(HeaderChange {
        set: filter.set.iter().map(pair).collect::<Result<_, _>>()?,
        add: filter.add.iter().map(pair).collect::<Result<_, _>>()?,
        remove: (filter.remove.iter())
            .map(|text| name(text))
            .collect::<Result<_, _>>()?,
    })
}

fn path(change: &PathModifier) -> Result<PathChange, Why> {
    let lacking = || Why::unsupported("the path of a filter does not say what to do");
    match change.type_.as_str() {
        "ReplaceFullPath" => {
            let path = change.replace_full_path.clone();
            path.map(PathChange::Full).ok_or_else(lacking)
        }
        "ReplacePrefixMatch" => {
            let path = change.replace_prefix_match.clone();
            path.map(PathChange::Prefix).ok_or_else(lacking)
        }
        other => Err(Why::unsupported(format!(
            "paths cannot be changed by {other}"
        ))),
    }
}

fn redirect(filter: &RedirectFilter) -> Result<Redirect, Why> {
    let status = filter.status_code.unwrap_or(302);
    let known = StatusCode::from_u16(status).ok();
    let known = known.filter(|_| matches!(status, 301 | 302 | 303 | 307 | 308));
    if let Some(scheme) = &filter.scheme
        && !matches!(scheme.as_str(), "http" | "https")
    {
        return Err(Why::unsupported(format!(
            "the scheme {scheme} is not supported"
        )));
    }
    Ok(Redirect {
        scheme: filter.scheme.clone(),
        host: filter.hostname.clone(),
        port: filter.port,
        path: filter.path.as_ref().map(path).transpose()?,
        status: known.ok_or_else(|| Why::unsupported(format!("{status} is no redirect")))?,
    })
}

fn rewrite(filter: &RewriteFilter) -> Result<Rewrite, Why> {
    let host = filter.hostname.as_deref().map(HeaderValue::from_str);
    let host = host.transpose();
    Ok(Rewrite {
        host: host.map_err(|_| Why::unsupported("the host of a URLRewrite is none"))?,
        path: filter.path.as_ref().map(path).transpose()?,
    })
}

fn cors(filter: &CorsFilter) -> Cors {
    Cors {
        origins: filter.allow_origins.clone(),
        credentials: filter.allow_credentials.unwrap_or(false),
        methods: filter.allow_methods.clone(),
        headers: filter.allow_headers.clone(),
        expose: filter.expose_headers.clone(),
        max_age_seconds: filter.max_age.unwrap_or(CORS_MAX_AGE_SECONDS),
    }
}
