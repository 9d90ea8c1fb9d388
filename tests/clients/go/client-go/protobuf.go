package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	serializer "k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
)

// errChanged says that the object changed between two reads.
var errChanged = errors.New("the object changed between two reads")

// protobufBytes compares what the server writes of every object that there is with what Go's types write of its JSON.
func (c *clients) protobufBytes(ctx context.Context) error {
	_, resources, err := c.typed.Discovery().ServerGroupsAndResources()
	if err != nil {
		return err
	}
	compared := 0
	for _, list := range resources {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return err
		}
		for _, resource := range list.APIResources {
			listed := bytes.Contains([]byte(fmt.Sprint(resource.Verbs)), []byte("list"))
			if !listed || !scheme.Scheme.Recognizes(version.WithKind(resource.Kind)) {
				continue
			}
			count, err := c.compareAll(ctx, version.WithResource(resource.Name))
			if err != nil {
				return fmt.Errorf("%s %s: %w", list.GroupVersion, resource.Name, err)
			}
			compared += count
		}
	}
	if compared == 0 {
		return errors.New("nothing to compare")
	}
	return nil
}

func (c *clients) compareAll(ctx context.Context, resource schema.GroupVersionResource) (int, error) {
	objects, err := c.metadata.Resource(resource).List(ctx, metav1.ListOptions{Limit: 20})
	if err != nil {
		return 0, err
	}
	for _, object := range objects.Items {
		path := []string{"/apis", resource.Group, resource.Version}
		if resource.Group == "" {
			path = []string{"/api", resource.Version}
		}
		if object.Namespace != "" {
			path = append(path, "namespaces", object.Namespace)
		}
		path = append(path, resource.Resource, object.Name)
		changed := func(err error) bool { return errors.Is(err, errChanged) }
		err := retry.OnError(retry.DefaultBackoff, changed, func() error {
			return c.compare(ctx, path)
		})
		if err != nil {
			return 0, fmt.Errorf("%s: %w", object.Name, err)
		}
	}
	return len(objects.Items), nil
}

func (c *clients) compare(ctx context.Context, path []string) error {
	read := func(client rest.Interface, accept string) ([]byte, error) {
		return client.Get().AbsPath(path...).SetHeader("Accept", accept).Do(ctx).Raw()
	}
	client := c.json.CoreV1().RESTClient()
	text, err := read(client, "application/json")
	if err != nil {
		return err
	}
	binary, err := read(client, protobuf)
	if err != nil {
		return err
	}
	decoder := scheme.Codecs.UniversalDeserializer()
	expected, _, err := decoder.Decode(text, nil, nil)
	if err != nil {
		return err
	}
	got, _, err := decoder.Decode(binary, nil, nil)
	if err != nil {
		return err
	}
	if version(expected) != version(got) {
		return errChanged
	}
	var written bytes.Buffer
	if err := serializer.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(expected, &written); err != nil {
		return err
	}
	if !bytes.Equal(written.Bytes(), binary) {
		return fmt.Errorf("%s\nis in protobuf\n%q\nand Go writes\n%q", text, binary, written.Bytes())
	}
	return nil
}

func version(object runtime.Object) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return accessor.GetResourceVersion()
}
