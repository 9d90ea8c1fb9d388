// Package suite pins Kubernetes' end-to-end suite, whose tests are built with
//
//	go test -c k8s.io/kubernetes/test/e2e
//
// The programs that are built from the same module are the tools of go.mod.
package suite

import _ "k8s.io/kubernetes/test/e2e"
