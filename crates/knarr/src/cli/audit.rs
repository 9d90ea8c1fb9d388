//! The flags of audit: upstream's names and defaults.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use knarr_audit::{Batching, LogOptions, Mode, Options, STDOUT, Truncation, WebhookOptions};

use super::duration;

/// Upstream's defaults of truncation.
const TRUNCATED_BATCH_BYTES: u64 = 10 << 20;
const TRUNCATED_EVENT_BYTES: u64 = 100 << 10;

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Audit")]
pub struct AuditFlags {
    /// The audit policy: which requests are told of, and how much of them; nothing is audited without one
    #[arg(long, value_name = "FILE")]
    pub audit_policy_file: Option<PathBuf>,

    /// Where audit events are logged, a JSON line each; - is the standard output
    #[arg(long, value_name = "FILE")]
    pub audit_log_path: Option<PathBuf>,

    /// Size at which the audit log is rotated, in megabytes; 0: never
    #[arg(long, value_name = "MB", default_value_t = 100)]
    pub audit_log_maxsize: u64,

    /// Days that rotated audit logs are kept; 0: without end
    #[arg(long, value_name = "DAYS", default_value_t = 366)]
    pub audit_log_maxage: u32,

    /// Rotated audit logs that are kept; 0: all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub audit_log_maxbackup: usize,

    /// Whether rotated audit logs are compressed (gzip)
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub audit_log_compress: bool,

    /// When a request goes on that is logged: at once (batch), once its events are written or could not be (blocking), or written, and
    /// refused where they cannot be (blocking-strict)
    // The values' own texts would make every flag's help several lines long.
    #[arg(long, value_enum, value_name = "MODE", default_value_t = AuditMode::Blocking, hide_possible_values = true)]
    pub audit_log_mode: AuditMode,

    /// Events that wait to be logged in mode batch; more are lost
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub audit_log_batch_buffer_size: usize,

    /// Whether events that are too large to be logged go without their objects, or are lost where that is not enough
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub audit_log_truncate_enabled: bool,

    /// Largest batch that is logged, bytes
    #[arg(long, value_name = "BYTES", default_value_t = TRUNCATED_BATCH_BYTES)]
    pub audit_log_truncate_max_batch_size: u64,

    /// Largest event that is logged, bytes
    #[arg(long, value_name = "BYTES", default_value_t = TRUNCATED_EVENT_BYTES)]
    pub audit_log_truncate_max_event_size: u64,

    /// The server that audit events are sent to, in the form of a kubeconfig
    #[arg(long, value_name = "FILE")]
    pub audit_webhook_config_file: Option<PathBuf>,

    /// When a request goes on that is told to the webhook: batch, blocking or blocking-strict, as above
    #[arg(long, value_enum, value_name = "MODE", default_value_t = AuditMode::Batch, hide_possible_values = true)]
    pub audit_webhook_mode: AuditMode,

    /// How long to wait before audit events are sent a second time
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub audit_webhook_initial_backoff: Duration,

    /// Events that wait to be sent in mode batch; more are lost
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub audit_webhook_batch_buffer_size: usize,

    /// Events that are sent together, at most
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub audit_webhook_batch_max_size: usize,

    /// How long an event waits for others to be sent with
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub audit_webhook_batch_max_wait: Duration,

    /// Whether batches are held back when there are too many
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub audit_webhook_batch_throttle_enable: bool,

    /// Batches a second, in the long run
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub audit_webhook_batch_throttle_qps: f64,

    /// Batches at once, where there were few before
    #[arg(long, value_name = "N", default_value_t = 15)]
    pub audit_webhook_batch_throttle_burst: u32,

    /// Whether events that are too large to be sent go without their objects, or are lost where that is not enough
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub audit_webhook_truncate_enabled: bool,

    /// Largest batch that is sent, bytes
    #[arg(long, value_name = "BYTES", default_value_t = TRUNCATED_BATCH_BYTES)]
    pub audit_webhook_truncate_max_batch_size: u64,

    /// Largest event that is sent, bytes
    #[arg(long, value_name = "BYTES", default_value_t = TRUNCATED_EVENT_BYTES)]
    pub audit_webhook_truncate_max_event_size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AuditMode {
    /// At once
    Batch,
    /// When its events are written, or could not be
    Blocking,
    /// When its events are written; a request that cannot be told of is refused
    BlockingStrict,
}

impl From<AuditMode> for Mode {
    fn from(mode: AuditMode) -> Mode {
        match mode {
            AuditMode::Batch => Mode::Batch,
            AuditMode::Blocking => Mode::Blocking,
            AuditMode::BlockingStrict => Mode::BlockingStrict,
        }
    }
}

impl AuditFlags {
    /// A process in the background has another directory.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        let paths = [
            ("--audit-policy-file", &mut self.audit_policy_file),
            ("--audit-log-path", &mut self.audit_log_path),
            (
                "--audit-webhook-config-file",
                &mut self.audit_webhook_config_file,
            ),
        ];
        for (flag, path) in paths {
            if let Some(path) = path.as_mut().filter(|path| path.as_os_str() != STDOUT) {
                let absolute = std::path::absolute(&path);
                *path = absolute.with_context(|| format!("{flag} is not a path"))?;
            }
        }
        Ok(())
    }

    pub fn options(&self) -> Options {
        let log = self.audit_log_path.as_ref().map(|path| LogOptions {
            path: path.clone(),
            max_size_megabytes: self.audit_log_maxsize,
            max_age_days: self.audit_log_maxage,
            max_backups: self.audit_log_maxbackup,
            mode: self.audit_log_mode.into(),
            compress: self.audit_log_compress,
            buffer: self.audit_log_batch_buffer_size,
            truncation: self.audit_log_truncate_enabled.then_some(Truncation {
                max_event_bytes: self.audit_log_truncate_max_event_size,
                max_batch_bytes: self.audit_log_truncate_max_batch_size,
            }),
        });
        let throttle = (
            self.audit_webhook_batch_throttle_qps,
            self.audit_webhook_batch_throttle_burst,
        );
        let webhook = self.audit_webhook_config_file.as_ref();
        let webhook = webhook.map(|file| WebhookOptions {
            config_file: file.clone(),
            initial_backoff: self.audit_webhook_initial_backoff,
            mode: self.audit_webhook_mode.into(),
            batching: Batching {
                buffer: self.audit_webhook_batch_buffer_size,
                max_events: self.audit_webhook_batch_max_size,
                max_wait: self.audit_webhook_batch_max_wait,
                throttle: self.audit_webhook_batch_throttle_enable.then_some(throttle),
            },
            truncation: self.audit_webhook_truncate_enabled.then_some(Truncation {
                max_event_bytes: self.audit_webhook_truncate_max_event_size,
                max_batch_bytes: self.audit_webhook_truncate_max_batch_size,
            }),
        });
        Options {
            policy_file: self.audit_policy_file.clone(),
            log,
            webhook,
        }
    }
}
