// client-go as controllers, operators and tools use it: informers of every kind over protobuf and streamed lists, the typed,
// dynamic, metadata and scale clients, server-side apply, leader election, streams to pods, and a restart in between.
package main

import (
	"fmt"
	"os"
	"slices"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"knarr.dev/tests/clients/go/step"
)

const (
	namespace = "client-go"
	protobuf  = "application/vnd.kubernetes.protobuf"
)

// clients are what programs hold: one of each kind, for the same cluster.
type clients struct {
	config *rest.Config
	// As upstream's own components: protobuf, and JSON where there is none.
	typed    kubernetes.Interface
	json     kubernetes.Interface
	dynamic  dynamic.Interface
	metadata metadata.Interface
}

func main() {
	c, err := connect()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	step.Main(slices.Concat(
		c.discoverySteps(),
		c.objectSteps(),
		c.watchSteps(),
		c.applySteps(),
		c.podSteps(),
		c.electionSteps(),
		c.informerSteps(),
		c.restartSteps(),
	)...)
}

func connect() (*clients, error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 200, 400
	binary := rest.CopyConfig(config)
	binary.ContentType = protobuf
	binary.AcceptContentTypes = protobuf + ",application/json"
	c := &clients{config: config}
	if c.typed, err = kubernetes.NewForConfig(binary); err != nil {
		return nil, err
	}
	if c.json, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	c.metadata, err = metadata.NewForConfig(config)
	return c, err
}
