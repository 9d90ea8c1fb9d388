// Command driver is a CSI driver for tests: volumes are directories and files below one directory of a node. It registers with the
// kubelet itself, by the protocol that the node-driver-registrar speaks, and tells the room that it has.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
	registration "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

const (
	driverName    = "directory.csi.knarr.dev"
	driverVersion = "1.0.0"
	// The label of nodes by which volumes are bound to theirs.
	topologyKey = "topology.directory.csi.knarr.dev/node"
	// How many volumes a node takes.
	volumesPerNode = 16
)

type options struct {
	socket, registration, kubeletSocket, state, node string
}

func main() {
	var o options
	flag.StringVar(&o.socket, "socket", "/csi/csi.sock", "where the driver is served")
	flag.StringVar(&o.registration, "registration", "", "where the kubelet asks who it is; empty: nowhere")
	flag.StringVar(&o.kubeletSocket, "kubelet-socket", "", "the driver's socket as the kubelet sees it")
	flag.StringVar(&o.state, "state", "/var/lib/directory-csi", "where volumes are kept")
	flag.StringVar(&o.node, "node", os.Getenv("NODE_NAME"), "the node's name")
	flag.Parse()
	if err := run(o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(o options) error {
	if o.node == "" {
		return errors.New("no name of a node: set NODE_NAME or --node")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	volumes, err := openStore(o.state)
	if err != nil {
		return err
	}
	driver := grpc.NewServer()
	csi.RegisterIdentityServer(driver, &identity{})
	csi.RegisterControllerServer(driver, &controller{store: volumes, node: o.node})
	csi.RegisterNodeServer(driver, &node{store: volumes, name: o.node})
	ended := make(chan error, 2)
	if err := serve(driver, o.socket, ended); err != nil {
		return err
	}
	defer driver.Stop()
	if o.registration != "" {
		registrar := grpc.NewServer()
		registration.RegisterRegistrationServer(registrar, &registrationServer{endpoint: o.kubeletSocket})
		if err := serve(registrar, o.registration, ended); err != nil {
			return err
		}
		defer registrar.Stop()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return err
	}
}

// serve listens at a path, in place of who did so before.
func serve(server *grpc.Server, path string, ended chan<- error) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go func() { ended <- server.Serve(listener) }()
	return nil
}

type registrationServer struct {
	registration.UnsafeRegistrationServer
	endpoint string
}

func (r *registrationServer) GetInfo(context.Context, *registration.InfoRequest) (*registration.PluginInfo, error) {
	return &registration.PluginInfo{
		Type:              registration.CSIPlugin,
		Name:              driverName,
		Endpoint:          r.endpoint,
		SupportedVersions: []string{driverVersion},
	}, nil
}

func (r *registrationServer) NotifyRegistrationStatus(
	_ context.Context, status *registration.RegistrationStatus,
) (*registration.RegistrationStatusResponse, error) {
	if !status.PluginRegistered {
		// The container is started anew, and tries again.
		fmt.Fprintln(os.Stderr, "the kubelet refuses the driver:", status.Error)
		os.Exit(1)
	}
	return &registration.RegistrationStatusResponse{}, nil
}

type identity struct {
	csi.UnimplementedIdentityServer
}

func (*identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driverName, VendorVersion: driverVersion}, nil
}

func (*identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{Ready: wrapperspb.Bool(true)}, nil
}

func (*identity) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(kind csi.PluginCapability_Service_Type) *csi.PluginCapability {
		return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{
			Service: &csi.PluginCapability_Service{Type: kind},
		}}
	}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}
