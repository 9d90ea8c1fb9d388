use std::time::Duration;

use super::*;

#[tokio::test]
async fn a_full_pipe_is_waited_for() {
    let (read, write) = nix::unistd::pipe().unwrap();
    let (read, write) = (
        Descriptor::new(read).unwrap(),
        Descriptor::new(write).unwrap(),
    );
    let sent = vec![7u8; 1 << 20];
    let writing = async {
        write.write_all(&sent).await.unwrap();
        drop(write);
    };
    let reading = async {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 4096]);
        loop {
            match read.read(&mut buffer).await.unwrap() {
                0 => return all,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
    };
    let both = async { tokio::join!(writing, reading).1 };
    let received = tokio::time::timeout(Duration::from_secs(10), both)
        .await
        .unwrap();
    assert!(received == vec![7u8; 1 << 20]);
}

#[tokio::test]
async fn a_terminal_whose_other_side_is_gone_has_ended() {
    let pty = nix::pty::openpty(None, None).unwrap();
    let master = Descriptor::new(pty.master).unwrap();
    nix::unistd::write(&pty.slave, b"bye").unwrap();
    drop(pty.slave);
    let mut buffer = [0; 16];
    assert_eq!(master.read(&mut buffer).await.unwrap(), 3);
    assert_eq!(master.read(&mut buffer).await.unwrap(), 0);
}
