package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/scale"
	"k8s.io/client-go/tools/pager"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/retry"

	"knarr.dev/tests/clients/go/step"
)

var configMaps = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}

func (c *clients) discoverySteps() []step.Step {
	return []step.Step{
		{Name: "discovery", Run: func(context.Context) error {
			_, resources, err := c.typed.Discovery().ServerGroupsAndResources()
			if err == nil && len(resources) == 0 {
				err = errors.New("no resources")
			}
			return err
		}},
		{Name: "rest-mapper", Run: func(context.Context) error {
			groups, err := restmapper.GetAPIGroupResources(c.typed.Discovery())
			if err != nil {
				return err
			}
			mapping, err := restmapper.NewDiscoveryRESTMapper(groups).RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
			if err != nil {
				return err
			}
			return step.Want("the resource", mapping.Resource.Resource, "deployments")
		}},
		{Name: "openapi-v2", Run: func(context.Context) error {
			_, err := c.typed.Discovery().OpenAPISchema()
			return err
		}},
		{Name: "openapi-v3", Run: func(context.Context) error {
			root := openapi3.NewRoot(c.typed.Discovery().OpenAPIV3())
			spec, err := root.GVSpec(schema.GroupVersion{Group: "apps", Version: "v1"})
			if err == nil && spec.Components.Schemas["io.k8s.api.apps.v1.Deployment"] == nil {
				err = errors.New("no schema of Deployment")
			}
			return err
		}},
	}
}

func (c *clients) objectSteps() []step.Step {
	return []step.Step{
		{Name: "namespace", Run: c.makeNamespace},
		{Name: "protobuf-only", Run: c.protobufOnly},
		{Name: "protobuf-bytes", Run: c.protobufBytes},
		{Name: "typed-verbs", Run: c.typedVerbs},
		{Name: "retry-on-conflict", Run: c.conflict},
		{Name: "pager", Run: c.pages},
		{Name: "dynamic-verbs", Run: c.dynamicVerbs},
		{Name: "metadata-client", Run: c.metadataOnly},
		{Name: "delete-collection", Run: c.deleteCollection},
		{Name: "scale-client", Run: c.scaleClient},
		{Name: "event-recorder", Run: c.recordEvent},
		{Name: "token-request", Run: c.tokenRequest},
		{Name: "access-review", Run: c.accessReview},
	}
}

func (c *clients) makeNamespace(ctx context.Context) error {
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := c.json.CoreV1().Namespaces().Create(ctx, object, metav1.CreateOptions{}); err != nil {
		return err
	}
	return step.Eventually(ctx, func(ctx context.Context) error {
		_, err := c.json.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
}

func configMap(name, value string) *corev1.ConfigMap {
	labels := map[string]string{"made-by": "client-go"}
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels},
		Data:       map[string]string{"key": value},
	}
}

// protobufOnly takes nothing else.
func (c *clients) protobufOnly(ctx context.Context) error {
	config := rest.CopyConfig(c.config)
	config.AcceptContentTypes, config.ContentType = protobuf, protobuf
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return err
	}
	result := client.Get().Resource("namespaces").Do(ctx)
	var kind string
	if err := result.ContentType(&kind).Error(); err != nil {
		return err
	}
	list := &corev1.NamespaceList{}
	if err := result.Into(list); err != nil {
		return err
	}
	if len(list.Items) == 0 {
		return errors.New("no namespaces")
	}
	return step.Want("the content type", kind, protobuf)
}

func (c *clients) typedVerbs(ctx context.Context) error {
	api := c.typed.CoreV1().ConfigMaps(namespace)
	made, err := api.Create(ctx, configMap("typed", "first"), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	made.Data["key"] = "second"
	updated, err := api.Update(ctx, made, metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	patch := []byte(`{"data":{"patched":"yes"}}`)
	for _, kind := range []types.PatchType{types.MergePatchType, types.StrategicMergePatchType} {
		if updated, err = api.Patch(ctx, "typed", kind, patch, metav1.PatchOptions{}); err != nil {
			return fmt.Errorf("patch: %w", err)
		}
	}
	if err := step.Want("the patched key", updated.Data["patched"], "yes"); err != nil {
		return err
	}
	wrong := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("other")}
	if err := api.Delete(ctx, "typed", wrong); !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting another uid: %v", err)
	}
	if err := api.Delete(ctx, "typed", metav1.DeleteOptions{}); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if _, err := api.Get(ctx, "typed", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("getting what was deleted: %v", err)
	}
	return nil
}

func (c *clients) conflict(ctx context.Context) error {
	api := c.json.CoreV1().ConfigMaps(namespace)
	stale, err := api.Create(ctx, configMap("contended", "first"), metav1.CreateOptions{})
	if err != nil {
		return err
	}
	tries := 0
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object := stale
		if tries++; tries == 1 {
			other := stale.DeepCopy()
			other.Data["key"] = "by another"
			if _, err := api.Update(ctx, other, metav1.UpdateOptions{}); err != nil {
				return err
			}
		} else if object, err = api.Get(ctx, "contended", metav1.GetOptions{}); err != nil {
			return err
		}
		object.Data["mine"] = "too"
		_, err := api.Update(ctx, object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return step.Want("the number of tries", tries, 2)
}

func (c *clients) pages(ctx context.Context) error {
	const count = 25
	api := c.typed.CoreV1().ConfigMaps(namespace)
	for i := range count {
		object := configMap(fmt.Sprintf("page-%d", i), "")
		object.Labels["paged"] = "yes"
		if _, err := api.Create(ctx, object, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	requests := 0
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		requests++
		return api.List(ctx, options)
	})
	pages.PageSize = 10
	found := 0
	options := metav1.ListOptions{LabelSelector: "paged=yes"}
	err := pages.EachListItem(ctx, options, func(runtime.Object) error { found++; return nil })
	if err != nil {
		return err
	}
	return errors.Join(step.Want("the number of objects", found, count), step.Want("the number of pages", requests, 3))
}

func (c *clients) dynamicVerbs(ctx context.Context) error {
	api := c.dynamic.Resource(configMaps).Namespace(namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"generateName": "dynamic-"},
		"data":     map[string]any{"key": "first"},
	}}
	made, err := api.Create(ctx, object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return err
	}
	if err := unstructured.SetNestedField(made.Object, "second", "data", "key"); err != nil {
		return err
	}
	if _, err := api.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		return err
	}
	list, err := api.List(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + made.GetName()})
	if err != nil {
		return err
	}
	if err := step.Want("the number of objects", len(list.Items), 1); err != nil {
		return err
	}
	value, _, _ := unstructured.NestedString(list.Items[0].Object, "data", "key")
	return step.Want("the key", value, "second")
}

func (c *clients) metadataOnly(ctx context.Context) error {
	list, err := c.metadata.Resource(configMaps).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: "paged=yes"})
	if err != nil {
		return err
	}
	if len(list.Items) == 0 || list.Items[0].Labels["paged"] != "yes" {
		return fmt.Errorf("%d objects", len(list.Items))
	}
	// In protobuf, which this client asks for, the items of a list do not say their kind.
	return step.Want("the namespace", list.Items[0].Namespace, namespace)
}

func (c *clients) deleteCollection(ctx context.Context) error {
	api := c.typed.CoreV1().ConfigMaps(namespace)
	paged := metav1.ListOptions{LabelSelector: "paged=yes"}
	if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, paged); err != nil {
		return err
	}
	list, err := api.List(ctx, paged)
	if err != nil {
		return err
	}
	return step.Want("what is left", len(list.Items), 0)
}

// scaleClient is what the autoscaler and kubectl scale with: the polymorphic client, by discovery.
func (c *clients) scaleClient(ctx context.Context) error {
	if _, err := c.json.AppsV1().Deployments(namespace).Create(ctx, deployment("scaled", 0), metav1.CreateOptions{}); err != nil {
		return err
	}
	groups, err := restmapper.GetAPIGroupResources(c.typed.Discovery())
	if err != nil {
		return err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	kinds := scale.NewDiscoveryScaleKindResolver(c.typed.Discovery())
	scales, err := scale.NewForConfig(c.config, mapper, dynamicAPIPath, kinds)
	if err != nil {
		return err
	}
	deployments := schema.GroupResource{Group: "apps", Resource: "deployments"}
	// The deployment's controller writes at the same time.
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error {
		object, err := scales.Scales(namespace).Get(ctx, deployments, "scaled", metav1.GetOptions{})
		if err != nil {
			return err
		}
		object.Spec = autoscalingv1.ScaleSpec{Replicas: 1}
		_, err = scales.Scales(namespace).Update(ctx, deployments, object, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	return step.Eventually(ctx, func(ctx context.Context) error {
		object, err := scales.Scales(namespace).Get(ctx, deployments, "scaled", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return step.Want("the number of replicas", object.Status.Replicas, 1)
	})
}

func dynamicAPIPath(kind schema.GroupVersionKind) string {
	if kind.Group == "" {
		return "/api"
	}
	return "/apis"
}

func (c *clients) recordEvent(ctx context.Context) error {
	object, err := c.json.CoreV1().ConfigMaps(namespace).Get(ctx, "contended", metav1.GetOptions{})
	if err != nil {
		return err
	}
	object.Kind, object.APIVersion = "ConfigMap", "v1"
	broadcaster := record.NewBroadcaster()
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: c.typed.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "client-go"})
	// The second one is a patch of the first: the same event, counted twice.
	for range 2 {
		recorder.Event(object, corev1.EventTypeNormal, "Walked", "there and back")
	}
	return step.Eventually(ctx, func(ctx context.Context) error {
		list, err := c.json.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=Walked"})
		if err != nil {
			return err
		}
		if len(list.Items) != 1 || list.Items[0].Count != 2 {
			return fmt.Errorf("%d events", len(list.Items))
		}
		return nil
	})
}

func (c *clients) tokenRequest(ctx context.Context) error {
	seconds := int64((10 * time.Minute).Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}
	answer, err := c.typed.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", request, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: answer.Status.Token}}
	review, err = c.typed.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return step.Want("the user", review.Status.User.Username, "system:serviceaccount:"+namespace+":default")
}

func (c *clients) accessReview(ctx context.Context) error {
	attributes := &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "delete", Resource: "pods"}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "nobody", ResourceAttributes: attributes,
	}}
	answer, err := c.typed.AuthorizationV1().SubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return step.Want("allowed", answer.Status.Allowed, false)
}
