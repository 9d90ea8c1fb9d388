package main

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	applyappsv1 "k8s.io/client-go/applyconfigurations/apps/v1"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	applymetav1 "k8s.io/client-go/applyconfigurations/meta/v1"

	"knarr.dev/tests/clients/go/step"
)

func (c *clients) applySteps() []step.Step {
	return []step.Step{
		{Name: "apply", Run: c.apply},
		{Name: "apply-conflict", Run: c.applyConflict},
		{Name: "apply-extract", Run: c.applyExtract},
		{Name: "apply-removes", Run: c.applyRemoves},
		{Name: "apply-status", Run: c.applyStatus},
		{Name: "apply-dynamic", Run: c.applyDynamic},
		{Name: "managed-fields-of-update", Run: c.updateManager},
	}
}

func by(manager string) metav1.ApplyOptions { return metav1.ApplyOptions{FieldManager: manager} }

func (c *clients) apply(ctx context.Context) error {
	wanted := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"key": "first", "other": "stays"})
	made, err := c.typed.CoreV1().ConfigMaps(namespace).Apply(ctx, wanted, by("one"))
	if err != nil {
		return err
	}
	again, err := c.typed.CoreV1().ConfigMaps(namespace).Apply(ctx, wanted, by("one"))
	if err != nil {
		return err
	}
	return step.Want("the version after applying the same", again.ResourceVersion, made.ResourceVersion)
}

func (c *clients) applyConflict(ctx context.Context) error {
	wanted := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{"key": "by another"})
	api := c.typed.CoreV1().ConfigMaps(namespace)
	if _, err := api.Apply(ctx, wanted, by("another")); !apierrors.IsConflict(err) {
		return fmt.Errorf("applying what another manager has: %v", err)
	}
	forced := by("another")
	forced.Force = true
	taken, err := api.Apply(ctx, wanted, forced)
	if err != nil {
		return err
	}
	return errors.Join(step.Want("the key", taken.Data["key"], "by another"), step.Want("the other key", taken.Data["other"], "stays"))
}

// applyExtract is how controllers apply: what they own, taken out of what is there, and changed.
func (c *clients) applyExtract(ctx context.Context) error {
	labels := map[string]string{"app": "extracted"}
	container := applycorev1.Container().WithName("hello").WithImage(helloImage).WithImagePullPolicy(corev1.PullIfNotPresent)
	wanted := applyappsv1.Deployment("extracted", namespace).WithSpec(applyappsv1.DeploymentSpec().
		WithReplicas(0).
		WithSelector(applymetav1.LabelSelector().WithMatchLabels(labels)).
		WithTemplate(applycorev1.PodTemplateSpec().WithLabels(labels).WithSpec(applycorev1.PodSpec().WithContainers(container))))
	api := c.typed.AppsV1().Deployments(namespace)
	if _, err := api.Apply(ctx, wanted, by("one")); err != nil {
		return err
	}
	found, err := api.Get(ctx, "extracted", metav1.GetOptions{})
	if err != nil {
		return err
	}
	owned, err := applyappsv1.ExtractDeployment(found, "one")
	if err != nil {
		return err
	}
	if owned.Spec == nil || owned.Spec.Template == nil || len(owned.Spec.Template.Spec.Containers) != 1 {
		return errors.New("the containers are not extracted")
	}
	owned.Spec.Template.Spec.Containers[0].WithEnv(applycorev1.EnvVar().WithName("A").WithValue("b"))
	found, err = api.Apply(ctx, owned, by("one"))
	if err != nil {
		return err
	}
	return step.Want("the number of variables", len(found.Spec.Template.Spec.Containers[0].Env), 1)
}

// applyRemoves has a field go that is applied no more.
func (c *clients) applyRemoves(ctx context.Context) error {
	wanted := applycorev1.ConfigMap("applied", namespace).WithData(map[string]string{})
	found, err := c.typed.CoreV1().ConfigMaps(namespace).Apply(ctx, wanted, by("one"))
	if err != nil {
		return err
	}
	_, there := found.Data["other"]
	return step.Want("whether the key is there", there, false)
}

func (c *clients) applyStatus(ctx context.Context) error {
	condition := applyappsv1.DeploymentCondition().WithType("Walked").WithStatus(corev1.ConditionTrue)
	wanted := applyappsv1.Deployment("extracted", namespace).
		WithStatus(applyappsv1.DeploymentStatus().WithConditions(condition))
	found, err := c.typed.AppsV1().Deployments(namespace).ApplyStatus(ctx, wanted, by("one"))
	if err != nil {
		return err
	}
	for _, condition := range found.Status.Conditions {
		if condition.Type == appsv1.DeploymentConditionType("Walked") {
			return nil
		}
	}
	return errors.New("the condition is not there")
}

func (c *clients) applyDynamic(ctx context.Context) error {
	wanted := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": "applied-too", "namespace": namespace},
		"data":     map[string]any{"key": "value"},
	}}
	_, err := c.dynamic.Resource(configMaps).Namespace(namespace).Apply(ctx, "applied-too", wanted, by("one"))
	return err
}

// updateManager looks for what plain writes leave in managedFields.
func (c *clients) updateManager(ctx context.Context) error {
	options := metav1.CreateOptions{FieldManager: "plain"}
	made, err := c.typed.CoreV1().ConfigMaps(namespace).Create(ctx, configMap("managed", "value"), options)
	if err != nil {
		return err
	}
	if len(made.ManagedFields) != 1 {
		return fmt.Errorf("%d managers", len(made.ManagedFields))
	}
	return step.Want("the manager", made.ManagedFields[0].Manager, "plain")
}
