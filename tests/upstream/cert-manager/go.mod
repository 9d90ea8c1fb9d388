module knarr.dev/tests/upstream/cert-manager

go 1.26.4
