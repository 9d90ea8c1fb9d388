//! DNS: what names a Service has, and what they lead to.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;

use super::{call, cluster_ip, manifest::PERL, pod_ip};
use crate::support::{SOON, Shell};

pub const DOMAIN: &str = "default.svc.cluster.local";

/// What nslookup says in a pod, also of what does not exist.
pub fn lookup(shell: &Shell<'_>, kind: &str, name: &str) -> Result<String> {
    // Of an address it makes the name that is asked for only by itself.
    let kind = match kind {
        "ptr" => String::new(),
        kind => format!("-type={kind}"),
    };
    call(shell, &format!("nslookup {kind} {name} 2>&1; true"))
}

/// Waits until nslookup says all of `wanted`.
pub fn says(shell: &Shell<'_>, kind: &str, name: &str, wanted: &[&str]) -> Result<()> {
    eventually(SOON, &format!("{name} {kind}"), || {
        let answer = lookup(shell, kind, name)?;
        for text in wanted {
            ensure!(answer.contains(text), "no {text:?} in\n{answer}");
        }
        Ok(())
    })
}

/// Asks for an address over TCP and prints it, which is the end of the answer.
const OVER_TCP: &str = r#"my ($server, $name) = @ARGV;
socket(S, PF_INET, SOCK_STREAM, 0) or die; connect(S, pack_sockaddr_in(53, inet_aton($server))) or die "connect: $!";
my $labels = join "", map { pack "C/a*", $_ } split /\./, $name;
syswrite S, pack "n/a*", pack("n6", 7, 0x100, 1, 0, 0, 0) . "$labels\0" . pack("n2", 1, 1);
my $answer = ""; $SIG{ALRM} = sub { die "no answer" }; alarm 5;
while (length $answer < 2 or length $answer < 2 + unpack "n", $answer) { sysread S, $answer, 2000, length $answer or die "closed" }
my ($id, $flags, $questions, $answers) = unpack "x2 n4", $answer;
print "$id $answers ", inet_ntoa(substr $answer, -4);"#;

pub fn over_tcp(shell: &Shell<'_>) -> Result<()> {
    let (pair, name) = (cluster_ip(shell, "pair")?, format!("pair.{DOMAIN}"));
    let server = shell.path("service kube-dns -n kube-system", "{.spec.clusterIP}")?;
    let words = ["exec", "caller", "--", PERL, "-MSocket", "-e", OVER_TCP];
    let answer = shell.words(&[words.as_slice(), &[&server, &name]].concat())?;
    ensure!(answer == format!("7 1 {pair}"), "{answer}");
    Ok(())
}

pub fn headless(shell: &Shell<'_>) -> Result<()> {
    let (alpha, beta) = (pod_ip(shell, "alpha")?, pod_ip(shell, "beta")?);
    let name = format!("headless.{DOMAIN}");
    says(shell, "a", &name, &[&alpha, &beta])?;
    let one = lookup(shell, "a", &format!("beta.{name}"))?;
    ensure!(one.contains(&beta) && !one.contains(&alpha), "{one}");
    says(shell, "a", &format!("gamma.{name}"), &["NXDOMAIN"])?;
    // By the short name, and by the target's port: there is nothing in between.
    let page = call(shell, "wget -q -O - http://beta.headless:8081/")?;
    ensure!(page.contains("host: beta"), "{page}");
    // A pod knows itself under that name.
    let fqdn = shell.words(&["exec", "beta", "-c", "names", "--", "hostname", "-f"])?;
    ensure!(fqdn.trim() == format!("beta.{name}"), "{fqdn}");
    // A name of a type that it has not exists all the same.
    let none = lookup(shell, "aaaa", &name)?;
    ensure!(!none.contains("NXDOMAIN"), "{none}");
    Ok(())
}

pub fn ports_and_addresses(shell: &Shell<'_>) -> Result<()> {
    let pair = format!("pair.{DOMAIN}");
    says(
        shell,
        "srv",
        &format!("_web._tcp.{pair}"),
        &[&format!("80 {pair}")],
    )?;
    says(
        shell,
        "srv",
        &format!("_web._tcp.headless.{DOMAIN}"),
        &[
            &format!("8080 alpha.headless.{DOMAIN}"),
            &format!("8081 beta.headless.{DOMAIN}"),
        ],
    )?;
    says(
        shell,
        "srv",
        &format!("_names._udp.headless.{DOMAIN}"),
        &[&format!("9000 alpha.headless.{DOMAIN}")],
    )?;
    says(
        shell,
        "srv",
        &format!("_names._tcp.headless.{DOMAIN}"),
        &["NXDOMAIN"],
    )?;
    says(shell, "ptr", &cluster_ip(shell, "pair")?, &[&pair])?;
    says(
        shell,
        "ptr",
        &pod_ip(shell, "alpha")?,
        &[&format!("alpha.headless.{DOMAIN}")],
    )
}

pub fn not_ready(shell: &Shell<'_>) -> Result<()> {
    let shy = pod_ip(shell, "shy")?;
    for name in ["early", "shy.early"] {
        says(shell, "a", &format!("{name}.{DOMAIN}"), &[&shy])?;
    }
    let page = call(shell, "wget -q -O - http://shy.early:8080/")?;
    ensure!(page == "shy\n", "{page}");
    says(shell, "a", &format!("hidden.{DOMAIN}"), &["NXDOMAIN"])?;
    says(shell, "a", &format!("shy.hidden.{DOMAIN}"), &["NXDOMAIN"])
}

pub fn external(shell: &Shell<'_>) -> Result<()> {
    let pair = cluster_ip(shell, "pair")?;
    let alias = format!("alias.{DOMAIN}");
    says(
        shell,
        "cname",
        &alias,
        &[&format!("canonical name = pair.{DOMAIN}")],
    )?;
    says(shell, "a", &alias, &[&pair])?;
    let page = call(shell, "wget -q -O - http://alias/")?;
    ensure!(page.contains("host: "), "{page}");
    says(
        shell,
        "cname",
        &format!("abroad.{DOMAIN}"),
        &["canonical name = example.invalid"],
    )
}
